"""How much prefill the streams of an instance can bear before they break their TPOT."""

from __future__ import annotations

import heapq
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from sage.inference.scheduling.least_squares import LeastSquares

_FORGETTING = 0.998
_WARM_UP = 16
_PLENTY = 256
_GAP = 0.05
_NEVER = float("inf")

# In what multiples coefficients are learned, relative to the first streams' seconds a token.
_HELD = 2e-6
_PREFILLED = 1e-3
_PAIRS = 1e-8


class StepModel:
    """Seconds that an engine's steps take, learned from how long its streams took.

    ::

        seconds of a stream after its first token
            = (step + held · tokens held by the engine) · further tokens
            + prefilled · prompt tokens prefilled meanwhile + pairs · pairs of tokens attended to

    Attributes:
        seen: streams learned from.
        base: seconds of a step of which nothing is known but that it is one.
        each_held: seconds that each token held adds to a step.
        each_new: seconds that each prompt token takes,
        each_pair: and each pair of tokens that its attention computes.
    """

    __slots__ = (
        "_at",
        "_early",
        "_fit",
        "_unit",
        "base",
        "each_held",
        "each_new",
        "each_pair",
        "seen",
    )

    def __init__(self) -> None:
        self.seen = 0
        self.base = self.each_held = self.each_new = self.each_pair = 0.0
        self._fit = LeastSquares(_FORGETTING)
        self._unit = 0.0
        self._at = float("-inf")
        self._early: list[tuple[float, float, float, float, float]] = []

    @property
    def ready(self) -> bool:
        """Whether enough streams have ended for its answers to mean something."""
        return self.seen >= _WARM_UP

    def step(self, held: float) -> float:
        """Return the seconds of a step without prefill while so many tokens are held."""
        return self.base + self.each_held * held

    def prefill(self, new: float, before: float) -> float:
        """Return the seconds that ``new`` tokens of a prompt take after ``before`` cached ones."""
        return new * (self.each_new + self.each_pair * (before + 0.5 * new))

    def whole(self, new: float, before: float, n: float) -> float:
        """Return the seconds that a request adds to those of its engine, prefill and decode.

        Args:
            new: tokens of its prompt that are not cached.
            before: those that are.
            n: tokens it generates.
        """
        return self.prefill(new, before) + self.each_held * (new + before + n) * n

    def learn(
        self, n: int, held: float, new: float, pairs: float, *, seconds: float, now: float
    ) -> None:
        """Take in a stream that has ended.

        Args:
            n: tokens after its first, at least 1.
            held: mean tokens its engine held meanwhile.
            new: prompt tokens of others that were prefilled meanwhile.
            pairs: pairs of tokens that their attention computed.
            seconds: that it took.
            now: seconds of the caller's clock.
        """
        if self.seen >= _PLENTY and now - self._at < _GAP:
            return
        self._at = now
        self.seen += 1
        early = self._early
        if self.seen > _WARM_UP:
            self._take(n, held, new, pairs, seconds)
            return
        early.append((n, held, new, pairs, seconds))
        if self.seen == _WARM_UP:
            paces = sorted(item[4] / item[0] for item in early)
            self._unit = max(1e-6, 0.5 * paces[0])
            for item in early:
                self._take(*item)
            early.clear()

    def _take(self, n: float, held: float, new: float, pairs: float, seconds: float) -> None:
        unit = self._unit
        steps = unit * n
        self._fit.learn(
            steps, steps * _HELD * held, unit * _PREFILLED * new, unit * _PAIRS * pairs, seconds
        )
        theta = self._fit.theta
        self.base, self.each_held = unit * theta[0], unit * _HELD * theta[1]
        self.each_new, self.each_pair = unit * _PREFILLED * theta[2], unit * _PAIRS * theta[3]


class Stalls:
    """A clock of an instance's prefill, and by when on it each of its streams has had too much.

    Where a step decodes for all and prefills for some, each second of prefill holds every stream
    up for a second. A stream of ``n`` further tokens, each due within ``tpot`` on average, that
    take ``step`` alone, can bear ``n · (tpot - step)`` of them from its first token to its end.

    Attributes:
        given: seconds of prefill given to the instance so far.
        done: those of them that are over.
        new: prompt tokens prefilled so far.
        pairs: pairs of tokens their attention computed.
        steps: what is learned of its steps.
    """

    __slots__ = ("_area", "_at", "_limits", "_targets", "done", "given", "new", "pairs", "steps")

    def __init__(self) -> None:
        self.given = self.done = 0.0
        self.new = self.pairs = 0.0
        self.steps = StepModel()
        self._limits: list[_Limit] = []
        self._targets: dict[float, int] = {}
        self._area = 0.0
        self._at = 0.0

    def held(self, tokens: int, now: float) -> float:
        """Return the integral of the tokens held over time, which have been ``tokens`` of late."""
        self._area += tokens * (now - self._at)
        self._at = now
        return self._area

    def enters(self, tpot: float | None) -> None:
        """A request with that target is given to the instance."""
        if tpot is not None:
            self._targets[tpot] = self._targets.get(tpot, 0) + 1

    def leaves(self, tpot: float | None) -> None:
        """Such a request has left it."""
        if tpot is not None:
            left = self._targets[tpot] - 1
            if left:
                self._targets[tpot] = left
            else:
                del self._targets[tpot]

    def tightest(self) -> float:
        """Return the smallest TPOT that one of its requests is to have, in seconds."""
        return min(self._targets, default=_NEVER)

    def bears(self, request_id: int, n: int, tpot: float, held: float, now: float) -> None:
        """A stream has begun.

        Args:
            request_id: whose.
            n: further tokens that are expected of it.
            tpot: seconds that each of them may take on average.
            held: tokens the instance will hold.
            now: seconds of the caller's clock.
        """
        step = self.steps.step(held)
        each = tpot - step
        item = _Limit(
            self.done + each * n, request_id, now + tpot * n, n, each, tpot, now, self.done
        )
        heapq.heappush(self._limits, item)

    def spare(self, running: AbstractSet[int], held: float, now: float) -> float:
        """Return the seconds of prefill that may still be given to it; infinite without streams.

        Args:
            running: ids of the requests it holds.
            held: tokens it holds.
            now: seconds of the caller's clock.
        """
        limits = self._limits
        while limits:
            top = limits[0]
            # A stream that will be too late already has nothing left to lose.
            if top.at < self.given or top.request_id not in running:
                heapq.heappop(limits)
            elif top.until <= now:
                # It is longer than expected: each further token can bear as much again.
                heapq.heapreplace(
                    limits,
                    top._replace(
                        at=top.at + top.each * top.n, until=now + top.tpot * top.n, n=2 * top.n
                    ),
                )
            else:
                return min(top.at - self.given, self._left(top, held, now))
        return _NEVER

    def _left(self, limit: _Limit, held: float, now: float) -> float:
        """Return what a stream bears from now on, if steps stay as long as they are now.

        They were shorter when it began, where a wave of others has come since.
        """
        step = self.steps.step(held)
        decoding = now - limit.begun - (self.done - limit.done)
        mean = 0.5 * (step + limit.tpot - limit.each)
        further = limit.n - decoding / mean if mean > 0.0 else 0.0
        return limit.until - now - step * max(0.0, further) - (self.given - self.done)


class _Limit(NamedTuple):
    """Until when, on the clock of prefill, a stream keeps its pace.

    Attributes:
        at: on that clock.
        request_id: whose stream.
        until: by when, of the caller's clock, it has ended if it keeps its pace.
        n: tokens expected of it after the first.
        each: seconds of prefill that each of them bears.
        tpot: seconds that each of them may take.
        begun: when it began, of the caller's clock,
        done: and of the clock of prefill.
    """

    at: float
    request_id: int
    until: float
    n: int
    each: float
    tpot: float
    begun: float
    done: float
