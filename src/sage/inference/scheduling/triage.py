"""Which of the requests that wait cannot all be in time, and whose loss costs the least."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def too_many(jobs: Sequence[tuple[float, float]]) -> list[int]:
    """Return the fewest jobs to give up so that every other one can be in time.

    Moore and Hodgson's rule (Management Science, 1968): take the jobs in the order of their
    deadlines, and whenever one would be late give up the largest of those taken.

    Args:
        jobs: (deadline, size) in the order of their deadlines, both in units of a server that
            starts at 0 and works on one after another; sizes are at least 0.

    Returns:
        The places of those given up, ascending.
    """
    taken: list[tuple[float, int]] = []
    given_up: list[int] = []
    load = 0.0
    for place, (deadline, size) in enumerate(jobs):
        load += size
        if load <= deadline:
            heapq.heappush(taken, (-size, -place))
            continue
        # Of equals the latest goes: it has waited least.
        largest, number = heapq.heappushpop(taken, (-size, -place))
        load += largest
        given_up.append(-number)
    given_up.sort()
    return given_up
