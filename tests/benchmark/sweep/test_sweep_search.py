"""The search for a knee, against knees that are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.sweep.search import GivenValues, Knee, KneeSearch, knee_of
from sage.errors import ConfigError


def _search(search: KneeSearch, knee: float) -> dict[float, bool]:
    """Run it against a server that keeps the target up to ``knee``; return what was tried."""
    tried: dict[float, bool] = {}
    while (value := search.next()) is not None:
        assert value not in tried
        tried[value] = value <= knee
        search.tell(value, tried[value])
        assert len(tried) < 60
    return tried


@given(
    knee=st.floats(0.01, 10_000),
    start=st.floats(0.1, 1000),
    resolution=st.floats(0.001, 0.5),
)
def test_it_closes_in_on_the_knee(knee: float, start: float, resolution: float) -> None:
    """Both ends of the bracket were tried, the knee lies between them, and they are near."""
    search = KneeSearch(start, resolution=resolution)
    tried = _search(search, knee)
    found = search.knee
    assert found == knee_of(tried)
    if found.value is None:
        assert knee < start / 4096 * 1.001
    elif found.beyond is None:
        assert knee >= start * 4096 * 0.999
    else:
        assert found.value <= knee < found.beyond
        assert found.beyond <= found.value * (1 + resolution) * 1.0001


@given(knee=st.integers(0, 5000), start=st.integers(1, 5000))
def test_whole_values_are_told_apart_to_the_last_one(knee: int, start: int) -> None:
    """With a fine resolution the knee of a number of users is exact."""
    search = KneeSearch(start, resolution=0.001, whole=True)
    tried = _search(search, knee)
    assert all(value == int(value) >= 1 for value in tried)
    found = search.knee
    assert (found.value or 0) <= knee
    if found.beyond is not None and knee < 1000:
        assert found == Knee(knee or None, knee + 1)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_it_ends_and_is_consistent_whatever_it_is_told(answers: list[bool]) -> None:
    """Measurements that waver end the search as well, at a place where they cross the target."""
    search = KneeSearch(10, resolution=0.01)
    tried: dict[float, bool] = {}
    while (value := search.next()) is not None:
        tried[value] = answers[len(tried) % len(answers)]
        search.tell(value, tried[value])
        assert len(tried) < 60
    assert search.knee == knee_of(tried)
    assert search.left() == 0


@given(knee=st.floats(0.1, 1000))
def test_what_is_left_is_about_right(knee: float) -> None:
    """Once both ends are known, the number of tries that are left is exact to one."""
    search = KneeSearch(1)
    while search.knee.value is None or search.knee.beyond is None:
        value = search.next()
        assert value is not None
        search.tell(value, value <= knee)
    said = search.left()
    more = 0
    while (value := search.next()) is not None:
        search.tell(value, value <= knee)
        more += 1
    assert abs(said - more) <= 1


def test_the_knee_of_given_values_is_before_the_first_that_loses() -> None:
    """A value above it that happens to keep the target again does not count."""
    assert knee_of({1: True, 2: True, 3: False, 4: True}) == Knee(2, 3)
    assert knee_of({1: False}) == Knee(None, 1)
    assert knee_of({1: True}) == Knee(1, None)
    values = GivenValues([1, 2])
    values.tell(1, kept=False)
    assert (values.next(), values.left()) == (2, 1)


@pytest.mark.parametrize("wrong", [{"start": 0}, {"start": float("nan")}, {"resolution": 0.0}])
def test_a_search_that_cannot_be(wrong: dict[str, float]) -> None:
    """Is refused with the value in the message."""
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        KneeSearch(**{"start": 1.0, **wrong})
