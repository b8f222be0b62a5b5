"""How far a run's figures may be off: intervals by resampling its stretches of time.

Requests of one run depend on each other, since those that wait for the same engine are late
together. So whole stretches of the run are drawn, not single requests (block bootstrap, Künsch
1989).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from operator import mul

from sage.benchmark.statistics import percentile

_RESAMPLES = 1000
_MOST = 40
# Of a run; a shorter one has no stretches that could be told apart.
_SHORTEST_S = 1e-6
_FEWEST = 10
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


class Stretches:
    """A run cut into 10 to 40 stretches of equal length.

    Args:
        moments: when each request was due, in seconds.
        least_s: a stretch is at least so long, so that requests of two stretches that do not
            touch have little to do with each other; about a request's time.
        seed: of the resampling; the same one gives the same intervals.
    """

    def __init__(self, moments: Sequence[float], *, least_s: float, seed: int = 0) -> None:
        self._first = min(moments, default=0.0)
        span = max(moments, default=0.0) - self._first
        count = min(_MOST, int(span / least_s)) if least_s > 0 else _MOST
        self._count = count if span > _SHORTEST_S and count >= _FEWEST else 0
        self._per_s = self._count / span if self._count else 0.0
        self._seed = seed

    def of(self, moments: Iterable[float]) -> Resampling | None:
        """Return what resampling says of the requests due then, all or some of the run's.

        None where the run is too short to be cut into ten stretches.
        """
        if not self._count:
            return None
        most, first, per_s = self._count - 1, self._first, self._per_s
        places = array("H", [min(most, int((at - first) * per_s)) for at in moments])
        return Resampling(places, _resampled(self._count, self._seed))


class Resampling:
    """Intervals of figures of some requests.

    Args:
        places: the stretch of each request.
        draws: how often each stretch is drawn, resampled run by resampled run.
    """

    def __init__(self, places: Sequence[int], draws: Sequence[Sequence[int]]) -> None:
        self._places = places
        self._draws = draws
        self._sizes = self._drawn([True] * len(places))

    def share(self, good: Sequence[bool]) -> Interval | None:
        """Return the interval of the share that is good, one flag a request; None without any.

        Where all are good, or none is, there is nothing to resample: the bound is then that of as
        many independent requests (Clopper and Pearson 1934).
        """
        if good and all(good):
            return Interval(_LOW ** (1 / len(good)), 1.0)
        if good and not any(good):
            return Interval(0.0, 1 - _LOW ** (1 / len(good)))
        return _middle(self._shares(good))

    def total(self, good: Sequence[bool], figure: float) -> Interval | None:
        """Return the interval of a rate of good ones that is ``figure`` over the whole run.

        None without any good one.
        """
        found = sum(good)
        return _middle([figure * hits / found for hits in self._drawn(good)]) if found else None

    def quantile(
        self, samples: Sequence[float], ordered: Sequence[float], share: float
    ) -> Interval | None:
        """Return the interval of a percentile; None without samples.

        It is read off the samples at the shares between which the true one lies (Woodruff 1952):
        how much the share below the percentile varies is what the stretches are resampled for.

        Args:
            samples: one a request.
            ordered: the same in rising order.
            share: of the percentile, such as 0.99.
        """
        if not samples:
            return None
        limit = percentile(ordered, share)
        below = [sample <= limit for sample in samples]
        found = sum(below) / len(below)
        moved = sorted(drawn - found for drawn in self._shares(below))
        least = share - percentile(moved, _HIGH)
        most = share - percentile(moved, _LOW)
        return Interval(
            percentile(ordered, max(least, 0.0)),
            percentile(ordered, most) if round(most, 9) <= 1.0 else None,
        )

    def _shares(self, good: Sequence[bool]) -> list[float]:
        drawn = zip(self._drawn(good), self._sizes, strict=True)
        return [hits / size for hits, size in drawn if size]

    def _drawn(self, flags: Sequence[bool]) -> list[int]:
        """How many there are in each resampled run."""
        counts = [0] * len(self._draws[0])
        for place in compress(self._places, flags):
            counts[place] += 1
        return [sum(map(mul, weights, counts)) for weights in self._draws]


@lru_cache(maxsize=_MOST)
def _resampled(count: int, seed: int) -> list[list[int]]:
    """How often each of so many stretches is drawn, resampled run by resampled run."""
    rng = random.Random(seed)  # noqa: S311 - resampling, not secrets
    found = []
    for _ in range(_RESAMPLES):
        weights = [0] * count
        for _ in range(count):
            weights[int(rng.random() * count)] += 1
        found.append(weights)
    return found


def _middle(figures: list[float]) -> Interval | None:
    figures.sort()
    return Interval(percentile(figures, _LOW), percentile(figures, _HIGH)) if figures else None
