"""How far a run's figures may be off: intervals by resampling its stretches of time.

Requests of one run depend on each other, since those that wait for the same engine are late
together. So whole stretches of the run are drawn, not single requests (block bootstrap, Künsch
1989).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from operator import mul

from sage.benchmark.statistics import percentile

_RESAMPLES = 1000
_MOST_BLOCKS = 40
_FEWEST_BLOCKS = 10
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with 95% confidence.

    Attributes:
        low: the lower end, in the figure's unit.
        high: the upper end; None where the samples are too few to bound a high percentile.
    """

    low: float
    high: float | None


class Blocks:
    """A run cut into stretches of equal length, and what resampling them gives.

    Args:
        moments: when each request was due, in seconds; not empty.
        least_s: a stretch is at least so long, so that requests of two stretches that do not
            touch have nothing to do with each other; a few times a request's time is enough.
        seed: of the resampling; the same one gives the same intervals.
    """

    def __init__(self, moments: Sequence[float], *, least_s: float, seed: int = 0) -> None:
        first, last = min(moments), max(moments)
        span = last - first
        count = _MOST_BLOCKS
        if least_s > 0:
            count = min(count, int(span / least_s))
        self.count = count if span > 0 and count >= _FEWEST_BLOCKS else 0
        scale = self.count / span if self.count else 0.0
        most = max(0, self.count - 1)
        self._of = array("H", (min(most, int((at - first) * scale)) for at in moments))
        self._seed = seed

    def share(self, good: Sequence[bool]) -> Interval | None:
        """Return the interval of the share of requests that are good, one flag a request.

        None where the run is too short to be cut into ten stretches.
        """
        if not self.count:
            return None
        return _middle([hit / of for hit, of in self._draws(good) if of])

    def total(self, good: Sequence[bool], figure: float) -> Interval | None:
        """Return the interval of a rate whose value over the whole run is ``figure``."""
        found = sum(good)
        if not self.count or not found:
            return None
        return _middle([figure * hit / found for hit, _ in self._draws(good)])

    def quantile(
        self, samples: Sequence[float | None], ordered: Sequence[float], share: float
    ) -> Interval | None:
        """Return the interval of a percentile.

        It is read off the samples at the shares between which the true one lies (Woodruff 1952):
        how much the share below the percentile varies is what the stretches are resampled for.

        Args:
            samples: one a request; None for one that has none.
            ordered: those there are, in rising order.
            share: of the percentile, such as 0.99.
        """
        if not self.count or not ordered:
            return None
        limit = percentile(ordered, share)
        there = [sample is not None for sample in samples]
        below = [sample is not None and sample <= limit for sample in samples]
        all_below = sum(below) / len(ordered)
        moved = sorted(hit / of - all_below for hit, of in self._draws(below, there) if of)
        least = share - percentile(moved, _HIGH)
        most = share - percentile(moved, _LOW)
        return Interval(
            percentile(ordered, max(least, 0.0)),
            percentile(ordered, most) if round(most, 9) <= 1.0 else None,
        )

    def _draws(
        self, good: Sequence[bool], there: Sequence[bool] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Yield, for each resampled run, how many were good and how many there were."""
        hits = self._counted(good)
        sizes = self._counted(there if there is not None else [True] * len(good))
        for weights in _resampled(self.count, self._seed):
            yield sum(map(mul, weights, hits)), sum(map(mul, weights, sizes))

    def _counted(self, flags: Sequence[bool]) -> list[int]:
        counts = [0] * self.count
        for block in compress(self._of, flags):
            counts[block] += 1
        return counts


@lru_cache(maxsize=_MOST_BLOCKS)
def _resampled(count: int, seed: int) -> list[list[int]]:
    """How often each of so many stretches is drawn, resampling by resampling."""
    rng = random.Random(seed)  # noqa: S311 - resampling, not secrets
    found = []
    for _ in range(_RESAMPLES):
        weights = [0] * count
        for _ in range(count):
            weights[int(rng.random() * count)] += 1
        found.append(weights)
    return found


def _middle(figures: list[float]) -> Interval | None:
    if not figures:
        return None
    figures.sort()
    return Interval(percentile(figures, _LOW), percentile(figures, _HIGH))
