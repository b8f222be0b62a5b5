"""A request inside a simulated engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sage.benchmark.token_log import TokenLog
from sage.inference.scheduling.instance import InstanceSpec


@dataclass(slots=True, eq=False)
class EngineRequest:
    """A request as an engine sees it.

    Attributes:
        id: the scheduler's.
        prompt: tokens of its prompt, or of each text to embed.
        output: tokens it generates; 0 for embeddings.
        texts: how many it embeds; 1 for chat.
        priority: larger is more urgent.
        hashes: of its prompt's whole blocks.
        head: tokens of its prompt that the engine is known to have; None where it is not known.
        runs: steps whose tokens were its, as (first, after the last).
        left: prompt tokens that are not computed yet.
        context: tokens that are computed once its prompt is: those before a preemption too.
        blocks: KV blocks it holds alone; those of ``held`` are shared.
        held: how many of its hashes it holds.
        apart: whether the blocks of its other hashes stay its own.
        phase: which steps it needs one more block in.
        since: the step its running stretch of tokens began in; -1 before.
        generated: tokens it had before that stretch.
        over: whether it is no longer wanted, or has ended.
    """

    id: int
    prompt: int
    output: int
    texts: int = 1
    priority: int = 0
    hashes: tuple[int, ...] = ()
    head: int | None = None
    runs: list[tuple[int, int]] = field(default_factory=list)
    left: int = 0
    context: int = 0
    blocks: int = 0
    held: int = 0
    apart: bool = False
    phase: int = 0
    since: int = -1
    generated: int = 0
    over: bool = False


class Emission(NamedTuple):
    """What leaves an engine at one moment.

    Attributes:
        at: when the gateway has it, in seconds.
        firsts: requests whose first token it is.
        ended: requests whose last token, or whole answer, it is.
    """

    at: float
    firsts: Sequence[EngineRequest]
    ended: Sequence[EngineRequest]


class EngineLoad(NamedTuple):
    """What an engine tells of itself: requests it computes, those that wait, KV cache in use."""

    running: int
    waiting: int
    kv_used: float


class EngineModel(Protocol):
    """A simulated engine: given requests, it says when it must be looked at again."""

    @property
    def spec(self) -> InstanceSpec:
        """What the scheduler is told of it."""
        ...

    @property
    def wake(self) -> float:
        """When `step` is due, in seconds; infinite while there is nothing to do."""
        ...

    @property
    def log(self) -> TokenLog | None:
        """When its steps' tokens left it; None where answers come whole."""
        ...

    def refuses(self, request: EngineRequest) -> str:
        """Return why it cannot serve the request; empty when it can."""
        ...

    def submit(self, request: EngineRequest, now: float) -> None:
        """Take a request that the gateway sends now."""
        ...

    def cancel(self, request: EngineRequest, now: float) -> None:
        """Give up a request that has not ended; the gateway says so now."""
        ...

    def step(self) -> Emission | None:
        """Go on at `wake`; return what this makes leave the engine, if anything."""
        ...

    def load(self) -> EngineLoad | None:
        """Return its figures; None where it tells none."""
        ...
