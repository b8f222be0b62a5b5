"""Which jobs to drop on one machine."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.bounds.moore_hodgson import Job, moore_hodgson

_jobs = st.lists(
    st.builds(Job, st.just(0.0), st.integers(0, 12).map(float), st.integers(1, 6).map(float)),
    max_size=6,
)


def _in_time(jobs: list[Job], order: tuple[int, ...] | list[int]) -> int:
    now, count = 0.0, 0
    for index in order:
        job = jobs[index]
        if max(now, job.release) + job.seconds <= job.due:
            now = max(now, job.release) + job.seconds
            count += 1
    return count


@given(_jobs)
def test_no_order_of_jobs_keeps_more(jobs: list[Job]) -> None:
    """With one release time as many are kept as by the best of all orders."""
    kept = moore_hodgson(jobs)
    best = max(_in_time(jobs, order) for order in permutations(range(len(jobs))))
    assert _in_time(jobs, kept) == len(kept) == best


def test_after_an_idle_time_what_was_before_is_not_dropped() -> None:
    """A job that ended before the machine stood idle stays, however long it was."""
    jobs = [Job(0.0, 10.0, 9.0), Job(20.0, 25.0, 4.0), Job(20.0, 26.0, 4.5)]
    assert moore_hodgson(jobs) == [0, 1]
