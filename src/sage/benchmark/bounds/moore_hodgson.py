"""Which jobs to drop so that the most are in time, on one machine."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple


class Job(NamedTuple):
    """Work for the machine: when it can begin, when it must be done, how long it takes."""

    release: float
    due: float
    seconds: float


def moore_hodgson(jobs: Sequence[Job]) -> list[int]:
    """Return the indices of jobs to keep, in the order to do them.

    Earliest due date first; whenever one would be late, the longest so far is dropped (Moore 1968,
    Hodgson). With one release time for all no choice keeps more. With several this is a heuristic:
    what is dropped since the machine last stood idle moves all that follow, as if they had been
    there already.
    """
    longest: list[tuple[float, int]] = []
    kept: set[int] = set()
    order = sorted(range(len(jobs)), key=lambda i: (jobs[i].due, jobs[i].release, i))
    now = float("-inf")
    for index in order:
        job = jobs[index]
        if job.release > now:
            now = job.release
            longest.clear()
        now += job.seconds
        kept.add(index)
        heapq.heappush(longest, (-job.seconds, index))
        if now > job.due:
            seconds, dropped = heapq.heappop(longest)
            now += seconds
            kept.discard(dropped)
    return [index for index in order if index in kept]
