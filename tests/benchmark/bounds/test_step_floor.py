"""The line below the times of all steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.bounds.step_floor import shortest, step_floor
from sage.benchmark.simulate.step_times import StepClock, StepTimes

_ms = st.floats(0.1, 20.0)


@given(
    st.lists(st.tuples(st.integers(1, 30), _ms), max_size=5, unique_by=lambda pair: pair[0]),
    st.one_of(st.none(), _ms),
    _ms,
    st.floats(1.0, 32.0),
)
def test_no_step_is_shorter(
    table: list[tuple[int, float]], d1: float | None, p0: float, at: float
) -> None:
    """Decode steps and steps with prefill of every batch lie on the line or above it."""
    times = StepTimes(b0=5.0, b1=0.3, b2=0.0, p0=p0, c1=0.1, d1=d1, decode=tuple(sorted(table)))
    clock, floor, least = StepClock(times, 32), step_floor(times, 32, at), shortest(times, 32)
    assert floor.fixed >= 0.0
    assert floor.each >= 0.0
    for batch in range(1, 33):
        steps = (clock.decode(batch, 0), clock.prefill(0, 0.0, 0, batch, 0))
        assert min(steps) >= floor.fixed + floor.each * batch - 1e-9
        assert min(steps) >= least - 1e-9
    assert clock.prefill(0, 0.0, 0, 0, 0) >= floor.fixed - 1e-9


def test_linear_times_are_their_own_floor() -> None:
    """Where steps are linear in the batch nothing is lost."""
    times = StepTimes(b0=6.0, b1=0.01, b2=0.0, p0=7.0, c1=0.02)
    floor = step_floor(times, 256, 256)
    assert floor == pytest.approx((0.006, 1e-5))
