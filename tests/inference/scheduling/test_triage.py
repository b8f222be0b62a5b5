"""As few as possible are given up for the others to be in time."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sage.inference.scheduling.triage import too_many

JOB = st.tuples(st.integers(0, 30), st.integers(0, 12))


def _in_time(jobs: list[tuple[int, int]]) -> bool:
    load = 0
    for deadline, size in sorted(jobs):
        load += size
        if load > deadline:
            return False
    return True


@given(st.lists(JOB, max_size=9))
def test_no_fewer_can_be_given_up(jobs: list[tuple[int, int]]) -> None:
    """The rest is in time, and no larger set of jobs ever is."""
    jobs.sort()
    lost = set(too_many(jobs))
    kept = [job for place, job in enumerate(jobs) if place not in lost]
    assert _in_time(kept)
    larger = combinations(jobs, len(kept) + 1)
    assert not any(_in_time(list(some)) for some in larger)


def test_the_largest_goes_and_of_equals_the_latest() -> None:
    """A large job early on makes way for two small ones; where all are equal the last one goes."""
    assert too_many([(10, 9), (10, 2), (12, 3)]) == [0]
    assert too_many([(2, 1), (2, 1), (2, 1)]) == [2]
    assert too_many([]) == []
