"""Intervals of one run's figures hold what they promise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.intervals import Resampling, Stretches
from sage.benchmark.statistics import percentile


def _cut(moments: list[float], *, least_s: float, seed: int = 0) -> Resampling:
    found = Stretches(moments, least_s=least_s, seed=seed).of(moments)
    assert found is not None
    return found


def _waves(rng: random.Random, count: int, period: int) -> list[float]:
    """Latencies that are high or low together for a while, 100 ms apart, and noise upon them."""
    high = 0.0
    found = []
    for index in range(count):
        if index % period == 0:
            high = rng.choice([0.0, 100.0])
        found.append(high + rng.uniform(0, 20))
    return found


def test_an_interval_holds_the_truth_though_requests_are_late_together() -> None:
    """Half of all requests are below 60 ms; of 100 runs, the interval holds that in nearly all.

    Intervals that took the requests for independent would be five times too narrow.
    """
    rng = random.Random(5)
    moments = [index / 100 for index in range(4000)]
    held = narrow = 0
    for _ in range(100):
        good = [sample < 60 for sample in _waves(rng, 4000, 25)]
        found = _cut(moments, least_s=1.0).share(good)
        assert found is not None
        assert found.high is not None
        held += found.low <= 0.5 <= found.high
        narrow += found.high - found.low < 0.25
    assert held >= 88
    assert narrow == 100


def test_a_percentile_has_an_interval_that_holds_it() -> None:
    """The 90th percentile of an exponential latency is 2.3026 times its mean."""
    rng = random.Random(6)
    moments = [index / 100 for index in range(2000)]
    held = 0
    for _ in range(60):
        samples = [rng.expovariate(1.0) for _ in moments]
        found = _cut(moments, least_s=0.1).quantile(samples, sorted(samples), 0.9)
        assert found is not None
        assert found.high is not None
        assert found.high - found.low < 0.8
        held += found.low <= 2.302585 <= found.high
    assert held >= 53


def test_too_few_samples_do_not_bound_a_high_percentile() -> None:
    """Of 100 requests the slowest tells little of how slow one in a hundred may be."""
    rng = random.Random(7)
    moments = [float(index) for index in range(100)]
    samples = [rng.expovariate(1.0) for _ in moments]
    cut = _cut(moments, least_s=1.0)
    found = cut.quantile(samples, sorted(samples), 0.99)
    assert found is not None
    assert found.high is None
    median = cut.quantile(samples, sorted(samples), 0.5)
    assert median is not None
    assert median.high is not None


def test_a_run_too_short_for_its_latency_has_no_interval() -> None:
    """Nine stretches of independent requests are too few to resample."""
    moments = [float(index) for index in range(91)]
    assert Stretches(moments, least_s=9.0).of(moments) is not None
    assert Stretches(moments, least_s=9.1).of(moments) is None
    assert Stretches([1.0], least_s=0.0).of([1.0]) is None
    assert Stretches([], least_s=0.0).of([]) is None


def test_a_class_is_cut_where_the_whole_run_is() -> None:
    """One that is in a tenth of the run alone has no more than that tenth's stretches to say so."""
    moments = [index / 10 for index in range(1000)]
    some = Stretches(moments, least_s=0.5).of(moments[:100])
    assert some is not None
    found = some.total([True] * 100, 10.0)
    assert found is not None
    assert found.high is not None
    assert found.low < 5
    assert found.high > 15


def test_no_failure_seen_is_not_no_failure() -> None:
    """Of 100 requests that are all good, 3.6% may be bad; of none that is, as many good."""
    cut = _cut([float(index) for index in range(100)], least_s=1.0)
    good, bad = cut.share([True] * 100), cut.share([False] * 100)
    assert good is not None
    assert bad is not None
    assert (good.low, good.high) == pytest.approx((0.9638, 1.0), abs=1e-4)
    assert (bad.low, bad.high) == pytest.approx((0.0, 0.0362), abs=1e-4)


def test_a_rate_is_scaled_from_the_whole_run() -> None:
    """Twice the goodput has an interval twice as wide; no good answer at all has none."""
    rng = random.Random(8)
    moments = [index / 10 for index in range(500)]
    good = [rng.random() < 0.7 for _ in moments]
    cut = _cut(moments, least_s=0.5)
    one, two = cut.total(good, 3.5), cut.total(good, 7.0)
    assert one is not None
    assert two is not None
    assert one.high is not None
    assert one.low < 3.5 < one.high
    assert (two.low, two.high) == pytest.approx((2 * one.low, 2 * one.high))
    assert cut.total([False] * 500, 0.0) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    """Another one does not, or nothing would be drawn."""
    moments = [index / 10 for index in range(300)]
    good = [index % 7 < 5 and index % 11 < 9 for index in range(300)]
    found = [_cut(moments, least_s=0.5, seed=seed).share(good) for seed in (1, 1, 2, 3, 4)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_an_interval_is_around_its_figure(pairs: list[tuple[float, float]], share: float) -> None:
    """Whatever the samples, the percentile itself is not outside."""
    moments, samples = [at for at, _ in pairs], [value for _, value in pairs]
    ordered = sorted(samples)
    cut = Stretches(moments, least_s=0.0).of(moments)
    if cut is not None:
        found = cut.quantile(samples, ordered, share)
        assert found is not None
        assert found.low <= percentile(ordered, share)
        assert found.high is None or found.high >= percentile(ordered, share)
