"""Quantiles of a stream over a sliding window, in bounded memory."""

from __future__ import annotations

import math

from sage.errors import ConfigError

_SMALLEST = 1e-6
_LARGEST = 1e6


class WindowedQuantiles:
    """Quantiles of the values of the last ``window`` seconds, to a relative error.

    Two histograms with buckets of growing width take turns, each for half a window, so an answer
    covers between half a window and a whole one. Values below 1e-6 count as 0, values above 1e6
    as 1e6; with the default error that makes at most 2 x 1,384 buckets.
    (The buckets are those of DDSketch, Masson, Rim and Lee, VLDB 2019.)

    Args:
        window: seconds.
        error: largest relative error of an answer, 0 to 1.

    Raises:
        ConfigError: a window or error out of range.
    """

    __slots__ = ("_current", "_epoch", "_half", "_log_gamma", "_previous", "_scale", "_until")

    def __init__(self, window: float = 60.0, error: float = 0.01) -> None:
        if not window > 0.0:
            raise ConfigError(f"window is {window} s; it must be above 0")
        if not 0.0 < error < 1.0:
            raise ConfigError(f"error is {error}; it must lie between 0 and 1")
        gamma = (1.0 + error) / (1.0 - error)
        self._half = window / 2.0
        self._log_gamma = math.log(gamma)
        self._scale = 2.0 / (gamma + 1.0)
        self._epoch = 0
        self._until = 0.0
        self._current: dict[int | None, int] = {}
        self._previous: dict[int | None, int] = {}

    def add(self, value: float, now: float) -> None:
        """Take in a value seen at ``now``."""
        self.put(self.bucket(value), now)

    def bucket(self, value: float) -> int | None:
        """Return the bucket of a value; those of equal relative error have the same buckets."""
        if value < _SMALLEST:
            return None
        return math.ceil(math.log(min(value, _LARGEST)) / self._log_gamma)

    def put(self, bucket: int | None, now: float) -> None:
        """Take in a value of that bucket seen at ``now``."""
        if now >= self._until:
            self._turn(int(now // self._half))
        counts = self._current
        counts[bucket] = counts.get(bucket, 0) + 1

    def count(self, now: float) -> int:
        """Return how many values the window holds."""
        self._turn(int(now // self._half))
        return sum(self._current.values()) + sum(self._previous.values())

    def quantile(self, q: float, now: float) -> float | None:
        """Return the smallest value that a share ``q`` of them do not exceed; None without any."""
        return self.quantiles((q,), now)[0]

    def quantiles(self, qs: tuple[float, ...], now: float) -> list[float | None]:
        """Return several quantiles at once; ``qs`` ascend, each from 0 to 1."""
        total = self.count(now)
        if not total:
            return [None] * len(qs)
        counts = dict(self._previous)
        for bucket, n in self._current.items():
            counts[bucket] = counts.get(bucket, 0) + n
        found: list[float | None] = []
        buckets = iter(sorted(counts, key=lambda b: -math.inf if b is None else b))
        bucket, seen = None, 0
        for q in qs:
            while seen < max(1, math.ceil(q * total)):
                bucket = next(buckets)
                seen += counts[bucket]
            found.append(self._value(bucket))
        return found

    def _value(self, bucket: int | None) -> float:
        return 0.0 if bucket is None else math.exp(bucket * self._log_gamma) * self._scale

    def _turn(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._previous = self._current if epoch == self._epoch + 1 else {}
        self._current = {}
        self._epoch = epoch
        self._until = (epoch + 1) * self._half
