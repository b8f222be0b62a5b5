"""How long the steps of a batching engine take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise

from sage.errors import ConfigError


def check_numbers(config: object, positive: tuple[str, ...], where: str) -> None:
    """Refuse numbers that are not finite, below zero, or zero where they must be positive.

    Raises:
        ConfigError: names the first.
    """
    for item in fields(config):  # type: ignore[arg-type] # every caller is a dataclass
        value = getattr(config, item.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and item.name in positive):
            least = "above 0" if item.name in positive else "at least 0"
            raise ConfigError(f"{where}: {item.name} is {value}; it must be {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """How long one step of a batching engine takes, in milliseconds.

    ::

        all decode:    b0 + b1 · requests + b2 · their context tokens
        with prefill:  p0 + c1 · new tokens + c2 · pairs + b1 · requests + b2 · context + r0 · begun

    ``pairs`` are the (new token, earlier token) pairs that attention computes: for each chunk,
    new · before + new² / 2. A step with prefill takes at least ``least``, and at least ``floor``
    where it carries more than ``graph_tokens`` tokens, beyond which the engine launches its
    kernels one by one.

    Attributes:
        b0: of any decode step.
        b1: for each request that decodes.
        b2: for each token of their context.
        p0: of any step with prefill.
        c1: for each prompt token.
        c2: for each pair.
        r0: for each prompt begun in the step.
        d1: for each request that decodes in a step with prefill; ``b1`` when None.
        decode: pairs of requests and milliseconds, in place of ``b0 + b1 · requests`` where the
            time is not linear in the batch (a CPU's): linear from one pair to the next, level
            before the first, and by ``b1`` after the last. A step with prefill has ``d1`` or
            ``b1`` all the same.
        h_in: from a request's arrival at the engine until its scheduler sees it.
        h_out: from a step's end until its tokens leave the engine.
        h_each: between two requests that reach the engine's scheduler, which its front end hands
            on one by one: of those that arrive together the first begins a step by itself.
        least: least time of a step with prefill; ``b0 + 2`` when None.
        floor: least time of a step beyond ``graph_tokens``.
        graph_tokens: most tokens of a step whose launches are recorded (CUDA graphs).

    Raises:
        ConfigError: a number out of range, or batches of ``decode`` that do not ascend.
    """

    b0: float
    b1: float
    b2: float
    p0: float
    c1: float
    c2: float = 0.0
    r0: float = 0.0
    d1: float | None = None
    decode: tuple[tuple[int, float], ...] = ()
    h_in: float = 0.0
    h_out: float = 0.0
    h_each: float = 0.1
    least: float | None = None
    floor: float = 0.0
    graph_tokens: int = 512

    def __post_init__(self) -> None:
        check_numbers(self, ("b0", "c1"), "params_ms")
        for batch, ms in self.decode:
            if batch < 1 or not (math.isfinite(ms) and ms > 0):
                raise ConfigError(f"params_ms: decode has {batch, ms}; both must be above 0")
        for (batch, _), (larger, _) in pairwise(self.decode):
            if larger <= batch:
                raise ConfigError(f"params_ms: in decode {larger} follows {batch}; ascend")

    def decode_ms(self, batch: int) -> float:
        """Return the milliseconds of a decode step of so many requests, but for their context."""
        if not self.decode:
            return self.b0 + self.b1 * batch
        before, ms = self.decode[0]
        if batch <= before:
            return ms
        for larger, longer in self.decode[1:]:
            if batch <= larger:
                return ms + (longer - ms) * (batch - before) / (larger - before)
            before, ms = larger, longer
        return ms + self.b1 * (batch - before)


class StepClock:
    """The same in seconds, as an engine needs it step by step.

    Args:
        times: in milliseconds.
        most: requests of the largest batch.

    Attributes:
        context_s: for each token of context.
        graph_tokens: most tokens of a step whose launches are recorded.
        launch_s: least time of a step beyond them.
    """

    __slots__ = ("_decode", "_least", "_prefill", "context_s", "graph_tokens", "launch_s")

    def __init__(self, times: StepTimes, most: int) -> None:
        if times.decode:
            self._decode = [times.decode_ms(batch) / 1000 for batch in range(most + 1)]
        else:
            b0, b1 = times.b0 / 1000, times.b1 / 1000
            self._decode = [b0 + b1 * batch for batch in range(most + 1)]
        beside = times.b1 if times.d1 is None else times.d1
        self._prefill = tuple(
            value / 1000 for value in (times.p0, times.c1, times.c2, beside, times.r0)
        )
        self._least = (times.b0 + 2.0 if times.least is None else times.least) / 1000
        self.context_s = times.b2 / 1000
        self.graph_tokens = times.graph_tokens
        self.launch_s = times.floor / 1000

    def decode(self, batch: int, context: int) -> float:
        """Return the seconds of a step that only decodes."""
        return self._decode[batch] + self.context_s * context

    def prefill(self, new: int, pairs: float, begun: int, batch: int, context: int) -> float:
        """Return the seconds of a step that computes prompts, beside a batch that decodes.

        Args:
            new: prompt tokens.
            pairs: of a new token and an earlier one.
            begun: prompts whose first tokens these are.
            batch: requests that decode.
            context: their tokens.
        """
        p0, c1, c2, beside, r0 = self._prefill
        seconds = p0 + c1 * new + c2 * pairs + beside * batch + self.context_s * context
        seconds += r0 * begun
        low = self._least
        return max(seconds, self.launch_s if new + batch > self.graph_tokens else low, low)
