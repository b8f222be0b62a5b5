"""Figures from samples: percentiles, and intervals of paired differences."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev

# Student's t at 97.5%, by degrees of freedom from 1; the last one serves for all above.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_MOST_ROUNDS = 1000
_ROUNDING = 1e-9


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest sample that ``share`` of the samples do not exceed (nearest rank).

    Args:
        ordered: samples in rising order; at least one.
        share: above 0, up to 1.
    """
    # A product such as 0.07 * 100 may lie a hair above the whole number it stands for.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(0, rank - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is spread over ``count`` samples, all in its own unit."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float


def spread(samples: Sequence[float]) -> Spread | None:
    """Return the spread of the samples, or None when there are none."""
    if not samples:
        return None
    ordered = sorted(samples)
    return Spread(
        count=len(ordered),
        mean=fmean(ordered),
        p50=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        p999=percentile(ordered, 0.999),
        max=ordered[-1],
    )


def weighted_spread(samples: Mapping[float, int]) -> Spread | None:
    """Return the spread of samples that occur so many times each, or None when there are none."""
    ordered = sorted(samples)
    upto = list(accumulate(samples[value] for value in ordered))
    if not upto or not upto[-1]:
        return None
    count = upto[-1]

    def at(share: float) -> float:
        rank = max(1, math.ceil(round(share * count, 9)))
        return ordered[bisect_left(upto, rank)]

    return Spread(
        count=count,
        mean=math.fsum(value * samples[value] for value in ordered) / count,
        p50=at(0.5),
        p90=at(0.9),
        p95=at(0.95),
        p99=at(0.99),
        p999=at(0.999),
        max=ordered[bisect_left(upto, count)],
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over paired rounds, with its 95% interval (Student's t).

    Attributes:
        mean: of the differences.
        low: the interval's lower end; -inf with a single pair.
        high: its upper end; inf with a single pair.
        rounds_needed: how many pairs that differ as these do would show a difference of this mean;
            2 at least. None with a single pair, which does not say how much they differ, and where
            over 1,000 would be needed.
    """

    mean: float
    low: float
    high: float
    rounds_needed: int | None = None

    @property
    def real(self) -> bool:
        """Whether the interval excludes no difference at all."""
        return self.low > 0 or self.high < 0


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return ``after`` - ``before``, pair by pair; both of the same length, at least 1.

    What differs by no more than sums do that are added up in another order does not differ.
    """
    differences = [
        0.0 if math.isclose(a, b, rel_tol=_ROUNDING) else b - a
        for a, b in zip(before, after, strict=True)
    ]
    mean = fmean(differences)
    if len(differences) == 1:
        return Difference(mean, -math.inf, math.inf)
    deviation = stdev(differences)
    half = _half_width(deviation, len(differences))
    return Difference(mean, mean - half, mean + half, _rounds_needed(mean, deviation))


def _half_width(deviation: float, pairs: int) -> float:
    return _T[min(pairs - 1, len(_T)) - 1] * deviation / math.sqrt(pairs)


def _rounds_needed(mean: float, deviation: float) -> int | None:
    """The width falls with each pair more, so the first number that shows it is looked for."""
    numbers = range(2, _MOST_ROUNDS + 1)
    found = bisect_left(numbers, True, key=lambda n: _half_width(deviation, n) < abs(mean))
    return numbers[found] if found < len(numbers) else None
