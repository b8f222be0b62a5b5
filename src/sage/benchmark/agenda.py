"""Which request is due next, and when: a pure state machine in seconds from the run's start."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable

from sage.benchmark.planned_request import PlannedRequest

NEVER = math.inf


class Agenda:
    """The requests of a run that have not been issued.

    A request that follows another is due when that one has ended and its user has thought.

    Args:
        requests: those that follow none in the order they are due.

    Attributes:
        left: how many have not been taken.
    """

    __slots__ = ("_followers", "_source", "_thinking", "left")

    def __init__(self, requests: Iterable[PlannedRequest] = ()) -> None:
        self._source: deque[PlannedRequest] = deque()
        self._followers: dict[int, PlannedRequest] = {}
        self._thinking: list[tuple[float, int, PlannedRequest]] = []
        for request in requests:
            if request.follows is None:
                self._source.append(request)
            else:
                self._followers[request.follows] = request
        self.left = len(self._source) + len(self._followers)

    @property
    def next_at(self) -> float:
        """When the next one is due; infinite while that is not known, or none is left."""
        at = self._source[0].at if self._source else NEVER
        return min(at, self._thinking[0][0]) if self._thinking else at

    def take(self) -> PlannedRequest:
        """Return the one that is due next."""
        self.left -= 1
        thinking, source = self._thinking, self._source
        if thinking and not (source and source[0].at <= thinking[0][0]):
            return heapq.heappop(thinking)[2]
        return source.popleft()

    def ended(self, request: PlannedRequest, at: float) -> bool:
        """Note the end of one at ``at``; return whether another is due because of that."""
        if not self._followers:
            return False
        follower = self._followers.pop(request.index, None)
        if follower is None:
            return False
        heapq.heappush(self._thinking, (at + follower.think_s, follower.index, follower))
        return True
