"""How long records take: counts in buckets of a logarithmic scale, and quantiles of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import frexp, ldexp

# A bucket is an eighth of an octave, so its middle is within 6 % of every time in it.
PER_OCTAVE = 8
# Added to each, so that none is 0, of which there is no logarithm.
LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that a record takes in an operator, from its call to its return.

    Of an async operator, from the call to when its result is there. Each is within 6 % of the true
    one of the records that were measured.

    Attributes:
        p50: the median.
        p95: of 95 % of the records, at most this.
        p99: of 99 %.
        measured: how many records these are of.
    """

    p50: float
    p95: float
    p99: float
    measured: int


class LatencyHistogram:
    """Counts of seconds, by bucket: eight an octave, 320 from 1 ns to 10 minutes.

    One thread adds, any may read.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        # Only buckets that hold something: a few dozen at most, which also cross processes.
        self.counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one record."""
        self.extend((seconds,))

    def extend(self, times: Iterable[float]) -> None:
        """Count several records, in seconds."""
        counts = self.counts
        for seconds in times:
            mantissa, exponent = frexp(seconds + LEAST)
            bucket = PER_OCTAVE * exponent + int(mantissa * 2 * PER_OCTAVE)
            counts[bucket] = counts.get(bucket, 0) + 1

    def copy(self) -> LatencyHistogram:
        """Return the counts as of now."""
        made = LatencyHistogram()
        made.counts = dict(self.counts)
        return made

    def merge(self, other: LatencyHistogram) -> None:
        """Count what another one has counted, too."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count


def summarise(histograms: Iterable[LatencyHistogram]) -> Latency | None:
    """Return the quantiles of several replicas' records; None when none was measured."""
    counts: Counter[int] = Counter()
    for histogram in histograms:
        # A copy, in one step, of what its thread may be adding to.
        counts.update(dict(histogram.counts))
    measured = counts.total()
    if not measured:
        return None
    ordered = sorted(counts.items())
    p50, p95, p99 = (_quantile(ordered, measured, share) for share in (0.5, 0.95, 0.99))
    return Latency(p50, p95, p99, measured)


def _quantile(ordered: list[tuple[int, int]], measured: int, share: float) -> float:
    rank = share * measured
    reached = 0
    for bucket, count in ordered:
        reached += count
        if reached >= rank:
            return _middle(bucket)
    return _middle(ordered[-1][0])


def _middle(bucket: int) -> float:
    exponent, part = divmod(bucket - PER_OCTAVE, PER_OCTAVE)
    return ldexp((PER_OCTAVE + part + 0.5) / (2 * PER_OCTAVE), exponent)
