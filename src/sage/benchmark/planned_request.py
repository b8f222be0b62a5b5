"""One request of a run, as it was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sage.benchmark.classes import TrafficClass
from sage.inference.scheduling.slo import SLO


class Message(NamedTuple):
    """One message of a chat.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        tokens: of its text.
        start: where in the text it begins.
    """

    role: str
    tokens: int
    start: int


@dataclass(slots=True)
class PlannedRequest:
    """One request as it will be sent.

    Attributes:
        index: its place in the run.
        at: seconds from the start when it should leave, or when its session began; 0 in a closed
            loop.
        traffic: what it asks for.
        prompt_tokens: of the prompt, what was said before included, or of each text to embed.
        output_tokens: most tokens asked for; 0 for embeddings.
        batch: texts to embed; 1 for chat.
        start: where in the text its prompt begins.
        tenant: whose it is; empty when there is only one.
        priority: larger is more urgent.
        blocks: ids of the prompt's blocks of 512 tokens, when a trace gives them.
        cls: the name of its class, by which results are told apart.
        slo: what a good answer keeps to, in seconds; the gateway is told; None for nothing.
        stream: whether a chat answer is streamed.
        follows: index of the turn of its session before it, at whose end its user begins to
            think; None for a request that is due at a moment of its own.
        think_s: seconds from that end until it should leave, whatever the answer was.
        messages: what it consists of, when there is more than one message.
    """

    index: int
    at: float
    traffic: TrafficClass
    prompt_tokens: int
    output_tokens: int = 0
    batch: int = 1
    start: int = 0
    tenant: str = ""
    priority: int = 0
    blocks: tuple[int, ...] = ()
    cls: str = TrafficClass.CHAT.value
    slo: SLO | None = None
    stream: bool = True
    follows: int | None = None
    think_s: float = 0.0
    messages: tuple[Message, ...] = ()
