"""Latency quantiles from buckets."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.latency import LatencyHistogram, summarise


def histogram(times: list[float]) -> LatencyHistogram:
    made = LatencyHistogram()
    made.extend(times)
    return made


@given(st.lists(st.floats(1e-8, 1e4), min_size=1))
def test_within_six_percent(times: list[float]) -> None:
    """Each quantile is within 6.3 % of the nearest-rank one of the same times."""
    latency = summarise([histogram(times)])
    assert latency is not None
    ordered = sorted(times)
    for share, found in ((0.5, latency.p50), (0.95, latency.p95), (0.99, latency.p99)):
        true = ordered[max(-int(-share * len(ordered) // 1), 1) - 1]
        assert found == pytest.approx(true, rel=0.063)
    assert latency.measured == len(times)


def test_replicas_are_summed() -> None:
    """Quantiles of several replicas are those of all their records."""
    times = [random.Random(1).expovariate(100) for _ in range(1000)]
    assert summarise([histogram(times[:300]), histogram(times[300:])]) == summarise(
        [histogram(times)]
    )


def test_a_copy_stays_as_it_is() -> None:
    """A checkpoint's counts do not go on with those of the job."""
    made = histogram([0.1])
    copy = made.copy()
    made.add(0.1)
    first = summarise([copy])
    copy.merge(made)
    both = summarise([copy])
    assert first is not None
    assert both is not None
    assert (first.measured, both.measured) == (1, 3)


def test_nothing_measured() -> None:
    """Without a record there are no quantiles."""
    assert summarise([LatencyHistogram(), LatencyHistogram()]) is None


def test_the_ends_of_the_scale() -> None:
    """What a clock without resolution calls 0 s counts, and so does a year."""
    latency = summarise([histogram([0.0, 3e7])])
    assert latency is not None
    assert latency.measured == 2
    assert latency.p50 < 2e-9
    assert latency.p99 == pytest.approx(3e7, rel=0.063)


@given(st.lists(st.floats(0, 600)))
def test_it_stays_small(times: list[float]) -> None:
    """Whatever comes, there are no more than eight buckets an octave, and it crosses processes."""
    made = histogram(times)
    assert all(-312 <= bucket < 96 for bucket in made.counts)
    assert pickle.loads(pickle.dumps(made)).counts == made.counts
