"""Batch sizes and waits follow the clock."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow.pacing import Pacer, idle_wait


def test_fast_records_move_by_the_thousand() -> None:
    """A batch doubles while it takes little time, up to the largest."""
    pacer = Pacer(1000, target=0.005)
    for _ in range(20):
        pacer.worked(pacer.limit, pacer.limit * 1e-6)
    assert pacer.limit == 1000


def test_slow_records_move_one_by_one() -> None:
    """One slow batch is enough to shrink the next."""
    pacer = Pacer(1000, target=0.005)
    for _ in range(20):
        pacer.worked(pacer.limit, 0.0)
    pacer.worked(pacer.limit, 30.0)
    assert pacer.limit == 1


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1e6))))
@settings(deadline=None)
def test_limit_stays_in_bounds(batches: list[tuple[int, float]]) -> None:
    """Whatever was measured, a batch has from one record to the largest."""
    pacer = Pacer(512)
    for records, seconds in batches:
        pacer.worked(records, seconds)
        assert 1 <= pacer.limit <= 512


def test_idle_wait_grows_with_the_idle_time() -> None:
    """A tenth of the time idle, from 50 µs to 5 ms."""
    assert [idle_wait(seconds) for seconds in (0, 0.01, 1)] == [50e-6, 0.001, 5e-3]
