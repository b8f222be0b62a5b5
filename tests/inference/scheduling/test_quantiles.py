"""The sliding quantile sketch answers within its error, in bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError
from sage.inference.scheduling.quantiles import WindowedQuantiles

QS = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)


@given(st.lists(st.floats(2e-6, 9e5), min_size=1, max_size=300))
def test_answers_lie_within_two_percent_of_the_exact_quantiles(values: list[float]) -> None:
    """Each quantile is the exact one, but for 2%."""
    sketch = WindowedQuantiles()
    for value in values:
        sketch.add(value, 1.0)
    ordered = sorted(values)
    for q, found in zip(QS, sketch.quantiles(QS, 1.0), strict=True):
        exact = ordered[max(1, math.ceil(q * len(values))) - 1]
        assert found == pytest.approx(exact, rel=0.02)
    assert sketch.count(1.0) == len(values)


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(1e-3, 10)), min_size=1, max_size=200))
def test_window_covers_between_half_of_it_and_all(steps: list[tuple[float, float]]) -> None:
    """Nothing older than the window counts, and everything younger than half of it does."""
    sketch = WindowedQuantiles(60.0)
    now, times = 0.0, []
    for wait, value in steps:
        now += wait
        times.append(now)
        sketch.add(value, now)
    young = sum(1 for t in times if t > now - 30.0)
    within = sum(1 for t in times if t >= now - 60.0)
    assert young <= sketch.count(now) <= within


def test_memory_is_bounded_and_old_values_go() -> None:
    """A million different sizes fill no more than the buckets there are; a pause empties it."""
    sketch = WindowedQuantiles()
    for n in range(50_000):
        sketch.add(1e-8 * 1.001**n if n < 30_000 else 1e300, 1.0)
    assert len(sketch._current) <= 1400
    assert sketch.quantile(1.0, 1.0) == pytest.approx(1e6, rel=0.02)
    assert sketch.quantile(0.0, 1.0) == 0.0
    assert sketch.quantile(0.5, 1000.0) is None


def test_arguments_out_of_range_are_refused() -> None:
    """A window of nothing and an error of all are mistakes."""
    with pytest.raises(ConfigError, match="window is 0"):
        WindowedQuantiles(0)
    with pytest.raises(ConfigError, match="error is 1"):
        WindowedQuantiles(error=1)
