"""Percentiles and paired differences against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.statistics import paired_difference, percentile, spread


def test_percentiles_are_samples() -> None:
    """Nearest rank: of 1 to 100, P99 is 99."""
    samples = [float(n) for n in range(1, 101)]
    assert [percentile(samples, s) for s in (0.07, 0.5, 0.9, 0.99, 1.0)] == [7, 50, 90, 99, 100]
    assert percentile([4.0], 0.5) == 4.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_a_spread_rises(samples: list[float]) -> None:
    """Whatever the samples, no percentile is above a higher one."""
    found = spread(samples)
    assert found is not None
    assert found.p50 <= found.p90 <= found.p95 <= found.p99 <= found.p999 <= found.max


def test_no_samples_have_no_spread() -> None:
    """Not zeroes."""
    assert spread([]) is None


def test_an_interval_of_paired_differences() -> None:
    """Differences 1, 2, 3: mean 2, and 4.303 · 1/√3 to both sides."""
    found = paired_difference([10, 10, 10], [11, 12, 13])
    half = 4.303 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half))
    assert not found.real
    assert paired_difference([10, 20, 30], [11, 21.1, 30.9]).real


def test_one_pair_shows_nothing() -> None:
    """Its interval is everything."""
    found = paired_difference([1.0], [2.0])
    assert (found.low, found.high, found.real) == (-math.inf, math.inf, False)


def test_rounding_is_no_difference() -> None:
    """Two ways to add up the same figures agree to about sixteen digits."""
    found = paired_difference([0.3, 0.6], [0.1 + 0.2, 0.6])
    assert (found.mean, found.real, found.rounds_needed) == (0.0, False, None)


def test_how_many_rounds_a_difference_needs() -> None:
    """Differences 0, 10, 20 have deviation 10; 2.447 · 10/√7 is the first half width below 10."""
    assert paired_difference([0, 0, 0], [0, 10, 20]).rounds_needed == 7
    assert paired_difference([0, 0, 0], [10, 11, 12]).rounds_needed == 2
    assert paired_difference([0, 0], [-1000, 1001]).rounds_needed is None
