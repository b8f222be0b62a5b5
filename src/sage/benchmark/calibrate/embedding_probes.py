"""What an embedding engine is asked for, to learn how long its batches take."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sage.benchmark.classes import TrafficClass
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load
from sage.benchmark.prompts import PromptText
from sage.benchmark.target import Found
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.errors import UpstreamError
from sage.inference.gateway.target import parse_target


class Call(NamedTuple):
    """One request of a probe, sent at its start.

    Attributes:
        texts: how many it embeds.
        tokens: of each.
    """

    texts: int
    tokens: int


@dataclass(frozen=True, slots=True)
class CallTake:
    """A probe that was played.

    Attributes:
        kind: ``call``, ``batch`` or ``together``.
        label: what it was; repeats share it.
        calls: as the engine saw them.
        seconds: how long each took.
    """

    kind: str
    label: str
    calls: Sequence[Call]
    seconds: Sequence[float]


def embedding_probes(longest: int) -> Iterator[tuple[str, str, list[Call]]]:
    """Yield each probe's kind, its label and its calls.

    Args:
        longest: tokens of the longest text.
    """
    length = 8
    while length <= longest:
        yield "call", f"1 x {length}", [Call(1, length)]
        length *= 2
    for texts in (4, 16, 64):
        for tokens in (16, min(64, longest)):
            yield "batch", f"{texts} x {tokens}", [Call(texts, tokens)]
    for count in (2, 4, 8):
        yield "together", f"{count} of 8 x 32", [Call(8, 32)] * count
    # Whether texts near in length share a batch shows where short and long ones wait together.
    mixed = [Call(1, 16), Call(1, longest)] * 8
    yield "together", f"16 and {longest} in turn", mixed


class EmbeddingProbing:
    """Plays the probes to a live engine that nobody else uses.

    Args:
        found: engine and model.
        text: what is embedded.
        seed: of the places in the text.
        timeout_s: seconds until an answer is given up.
    """

    def __init__(
        self, found: Found, text: PromptText, *, seed: int = 0, timeout_s: float = 120.0
    ) -> None:
        self._target = parse_target(found.url)
        self._writer = RequestWriter(self._target, found.models, text, api_key=found.api_key)
        self._rng = random.Random(f"{seed}/probes")  # noqa: S311 - texts, not secrets
        self._timeout_s = timeout_s

    def play(self, kind: str, label: str, calls: Sequence[Call]) -> CallTake:
        """Send the calls at once, and wait for all answers.

        Raises:
            UpstreamError: one failed or told no usage.
        """
        requests = [
            PlannedRequest(
                number,
                0.0,
                TrafficClass.EMBEDDING,
                call.tokens,
                batch=call.texts,
                start=self._rng.randrange(1 << 30),
            )
            for number, call in enumerate(calls)
        ]
        load = Load(self._target, self._writer, timeout_s=self._timeout_s)
        result = asyncio.run(load.run(requests))
        exchanges = sorted(result.exchanges, key=lambda exchange: exchange.request.index)
        seen = [_counted(exchange) for exchange in exchanges]
        return CallTake(kind, label, seen, [one.ended - one.sent for one in exchanges])


def _counted(exchange: Exchange) -> Call:
    asked = exchange.request
    if exchange.failure is not None:
        raise UpstreamError(
            f"the engine failed a probe of {asked.batch} texts of {asked.prompt_tokens} tokens: "
            f"{exchange.failure.value}, {exchange.detail}"
        )
    if not exchange.prompt_tokens:
        raise UpstreamError("the engine tells no usage, so the tokens of texts cannot be counted")
    return Call(asked.batch, max(1, round(exchange.prompt_tokens / asked.batch)))
