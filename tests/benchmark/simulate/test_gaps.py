"""ITL over all answers: the same from an engine's steps as from each answer's moments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.gaps import gap_spread
from sage.benchmark.statistics import spread, weighted_spread
from sage.benchmark.token_log import LoggedTimes, TokenLog


def _log(gaps: list[int]) -> TokenLog:
    log = TokenLog()
    moment = 0.0
    for gap in gaps:
        moment += gap / 1000
        log.times.append(moment)
    return log


@st.composite
def _answers(draw: st.DrawFn) -> list[LoggedTimes]:
    logs = [_log(draw(st.lists(st.integers(1, 50), min_size=12, max_size=12))) for _ in range(2)]
    answers = []
    for _ in range(draw(st.integers(1, 8))):
        cuts = sorted(draw(st.lists(st.integers(0, 12), min_size=2, max_size=6, unique=True)))
        runs = list(zip(cuts[::2], cuts[1::2], strict=False))
        answers.append(LoggedTimes(draw(st.sampled_from(logs)), runs, 0.25))
    return answers


@given(answers=_answers())
def test_gaps_from_steps_are_those_from_moments(answers: list[LoggedTimes]) -> None:
    """Preempted answers and several engines included."""
    plain = spread([(b - a) * 1000 for times in answers for a, b in pairwise(list(times))])
    fast = gap_spread(answers)
    if plain is None:
        assert fast is None
        return
    assert fast is not None
    assert fast.count == plain.count
    for name in ("mean", "p50", "p90", "p99", "p999", "max"):
        assert getattr(fast, name) == pytest.approx(getattr(plain, name), abs=1e-5)


@given(samples=st.lists(st.integers(0, 20), min_size=1))
def test_weighted_percentiles_are_those_of_all_samples(samples: list[int]) -> None:
    """A sample that occurs so often counts so often."""
    counted = {float(value): samples.count(value) for value in samples}
    assert weighted_spread(counted) == pytest.approx(spread([float(s) for s in samples]))
    assert weighted_spread({}) is None


def test_moments_can_be_read_as_any_others() -> None:
    """Length, both ends, any place, slices."""
    times = LoggedTimes(_log([1000] * 9), [(0, 2), (5, 7)], 0.5)
    assert list(times) == [1.5, 2.5, 6.5, 7.5]
    assert [times[0], times[-1], times[2], times[-3]] == [1.5, 7.5, 6.5, 2.5]
    assert times[1:3] == [2.5, 6.5]
    assert len(times) == 4
    for place in (4, -5):
        with pytest.raises(IndexError, match="of 4"):
            times[place]
