"""How long an instance takes, learned from what it has taken."""

from __future__ import annotations

from sage.inference.scheduling.least_squares import LeastSquares
from sage.inference.scheduling.quantiles import WindowedQuantiles

# What an instance is taken for before anything is known; learning works in multiples of these.
_CONSTANT = 0.01
_PREFILL = 1e-4
_STEP = 0.02
_STEP_BATCH = 2e-4

_WARM_UP = 8
_GAP = 0.02
_PLENTY = 64
_FLOOR = 1e-4


class LatencyModel:
    """Seconds an instance needs, as a linear model fitted online.

    ::

        seconds = constant + prefill · uncached prompt tokens          up to the first token
                + (step + step_batch · batch) · further tokens         after it

    One recursive least-squares fit over all four serves streams, whose two halves are seen
    apart, and whole answers, of which only the sum is seen. It forgets (about the last hundred
    observations count), weighs relative errors, clips outliers, and keeps every term at or above
    zero. Observations that follow each other within 20 ms are left out once it has warmed up: a
    busy instance has enough, and the fit costs microseconds.

    Attributes:
        observations: how many it has learned from.
        updated: when it last learned, in seconds of the caller's clock.
        margin: measured P95 of observed over predicted time to first token, 1 to 4.
    """

    __slots__ = (
        "_decoded",
        "_early",
        "_fit",
        "_prefilled",
        "_ratios",
        "_units",
        "margin",
        "observations",
        "updated",
    )

    def __init__(self) -> None:
        self._fit = LeastSquares()
        self._units = [1.0] * 4
        self._early: list[tuple[list[float], float]] | None = []
        self._ratios = WindowedQuantiles(120.0)
        self.margin = 1.0
        self.observations = 0
        self.updated = self._prefilled = self._decoded = float("-inf")

    @property
    def ready(self) -> bool:
        """Whether enough has been seen for its predictions to mean something."""
        return self.observations >= _WARM_UP

    @property
    def constant(self) -> float:
        """Seconds to a first token, whatever the prompt's length."""
        return self._units[0] * self._fit.theta[0] * _CONSTANT

    @property
    def prefill_per_token(self) -> float:
        """Seconds each uncached prompt token adds."""
        return self._units[0] * self._fit.theta[1] * _PREFILL

    def ttft(self, tokens: float) -> float:
        """Return seconds from dispatch to first token with ``tokens`` to prefill up to it."""
        theta = self._fit.theta
        return self._units[0] * (theta[0] * _CONSTANT + theta[1] * _PREFILL * tokens)

    def step(self, batch: float) -> float:
        """Return seconds a decode step takes with ``batch`` requests running."""
        theta = self._fit.theta
        return self._units[2] * (theta[2] * _STEP + theta[3] * _STEP_BATCH * batch)

    def first_token(self, tokens: float, seconds: float, now: float) -> None:
        """Learn from a first token.

        Args:
            tokens: uncached prompt tokens that were to be prefilled up to it, its own included.
            seconds: from dispatch.
            now: when it came.
        """
        if self._skips(now):
            return
        if self.ready:
            self._ratios.add(seconds / max(self.ttft(tokens), _FLOOR), now)
            if self.observations % 32 == 0:
                p95 = self._ratios.quantile(0.95, now) or 1.0
                self.margin = min(4.0, max(1.0, p95))
        self._learn([_CONSTANT, _PREFILL * tokens, 0.0, 0.0], seconds, now)

    def decoded(self, n: int, batch: float, seconds: float, now: float) -> None:
        """Learn from ``n`` tokens that came within ``seconds`` after a first one."""
        if n > 0 and (self.observations < _PLENTY or now - self._decoded >= _GAP):
            self._decoded = now
            self._learn([0.0, 0.0, _STEP * n, _STEP_BATCH * n * batch], seconds, now)

    def whole(self, tokens: float, n: int, batch: float, seconds: float, now: float) -> None:
        """Learn from a whole answer: ``n`` tokens after the first, or 0 for embeddings."""
        if not self._skips(now):
            features = [_CONSTANT, _PREFILL * tokens, _STEP * n, _STEP_BATCH * n * batch]
            self._learn(features, seconds, now)

    def _skips(self, now: float) -> bool:
        if self.observations >= _PLENTY and now - self._prefilled < _GAP:
            return True
        self._prefilled = now
        return False

    def _learn(self, x: list[float], seconds: float, now: float) -> None:
        self.observations += 1
        self.updated = now
        if self._early is None:
            self._take(x, seconds)
            return
        self._early.append((x, seconds))
        if self.ready:
            early, self._early = self._early, None
            self._units = [*[_typical(early, 0, 2)] * 2, *[_typical(early, 2, 0)] * 2]
            for features, taken in early:
                self._take(features, taken)

    def _take(self, x: list[float], seconds: float) -> None:
        units = self._units
        self._fit.learn(x[0] * units[0], x[1] * units[1], x[2] * units[2], x[3] * units[3], seconds)


def _typical(early: list[tuple[list[float], float]], first: int, other: int) -> float:
    """Return the median of seconds in multiples of what was taken for granted, for one half.

    Args:
        early: features and seconds.
        first: index of the half's first feature.
        other: index of the other half's; observations of that half alone are left out.
    """
    apart = [s / sum(x) for x, s in early if x[first] > 0.0 and x[other] == 0.0]
    ratios = sorted(apart or [s / sum(x) for x, s in early])
    return max(ratios[len(ratios) // 2], _FLOOR)
