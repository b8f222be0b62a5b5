"""Requests that wait, and the order they leave in."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.policy import Ordering, Rank
from sage.inference.scheduling.tenants import TokenCounters

Head = tuple[Rank, int, Entry]
"""Rank, order of acceptance, and the entry they belong to."""

_MOST_RANKED = 16
_GIVEN_UP: Rank = (1.5,)


class RequestQueue:
    """A queue by (rank, order of acceptance): push, pop and remove are O(log n).

    With token counters there is a lane for each tenant, and among lanes whose heads are of the
    same level (the first number of their ranks) the tenant served least goes first.

    A removed request stays as a husk until it surfaces or husks are the majority.

    Args:
        ordering: ranks the requests.
        counters: what tenants were served; None for one lane.

    Attributes:
        live: how many entries wait.
    """

    def __init__(self, ordering: Ordering, counters: TokenCounters | None = None) -> None:
        self.ordering = ordering
        self._counters = counters
        self._lanes: dict[str, _Lane] = {}
        self._top: list[tuple[tuple[float, float], int, _Lane]] = []
        self._created = 0
        self._ages: deque[Entry] = deque()
        self.live = 0

    def __len__(self) -> int:
        return self.live

    def __iter__(self) -> Iterator[Entry]:
        """Yield the waiting entries in order of acceptance."""
        return (entry for entry in self._ages if entry.waiting)

    def push(self, entry: Entry, now: float) -> None:
        """Let the entry wait."""
        entry.waiting = True
        self.live += 1
        self._ages.append(entry)
        lane = self._lane(entry)
        rank = _GIVEN_UP if entry.lost else self.ordering.rank(entry.request, now)
        heapq.heappush(lane.heap, (rank, entry.order, entry))
        lane.live += 1
        if self._counters is not None:
            self._offer(lane, self._counters)

    def peek(self, now: float) -> Head | None:
        """Return the entry that goes next with its rank and order, or None when none waits."""
        if self._counters is not None:
            return self._peek_lanes(now, self._counters)
        for lane in self._lanes.values():
            return lane.peek(self.ordering, now)
        return None

    def restore(self, entries: list[Entry], now: float) -> None:
        """Let some that had been given up be ranked like the others again."""
        lanes = {}
        for entry in entries:
            entry.lost = False
            lane = self._lane(entry)
            lanes[lane.name] = lane
        back = {entry.order for entry in entries}
        for lane in lanes.values():
            # Ranks that shrink do not come up by themselves.
            lane.heap = [
                (self.ordering.rank(entry.request, now), order, entry)
                if order in back
                else (rank, order, entry)
                for rank, order, entry in lane.heap
            ]
            heapq.heapify(lane.heap)
            if self._counters is not None:
                self._offer(lane, self._counters)

    def oldest(self) -> Entry | None:
        """Return the entry that was accepted first."""
        ages = self._ages
        while ages:
            if ages[0].waiting:
                return ages[0]
            ages.popleft()
        return None

    def remove(self, entry: Entry) -> None:
        """Take a waiting entry out."""
        entry.waiting = False
        self.live -= 1
        self._leaves(entry).compact()
        if len(self._ages) > 32 and self.live * 2 < len(self._ages):
            self._ages = deque(entry for entry in self._ages if entry.waiting)

    def _leaves(self, entry: Entry) -> _Lane:
        """Note that an entry leaves its lane."""
        lane = self._lane(entry)
        lane.live -= 1
        if not lane.live:
            lane.key = None
            del self._lanes[lane.name]
        return lane

    def _lane(self, entry: Entry) -> _Lane:
        name = "" if self._counters is None else entry.request.tenant
        lane = self._lanes.get(name)
        if lane is None:
            self._created += 1
            lane = self._lanes[name] = _Lane(name, self._created)
        return lane

    def _offer(self, lane: _Lane, counters: TokenCounters) -> None:
        """Let the lanes' heap know the lane by a key no larger than the one it has now."""
        key = _level(lane.heap[0][0]), counters.counter(lane.name)
        if lane.key is None or key < lane.key:
            lane.key = key
            heapq.heappush(self._top, (key, lane.number, lane))
            if len(self._top) > 32 + 2 * len(self._lanes):
                self._top = [(x.key, x.number, x) for x in self._lanes.values() if x.key]
                heapq.heapify(self._top)

    def _peek_lanes(self, now: float, counters: TokenCounters) -> Head | None:
        top = self._top
        while top:
            key, number, lane = top[0]
            head = lane.peek(self.ordering, now) if lane.key == key else None
            if head is None:
                heapq.heappop(top)
                continue
            current = _level(head[0]), counters.counter(lane.name)
            if current <= key:
                return head
            lane.key = current
            heapq.heapreplace(top, (current, number, lane))
        return None


class _Lane:
    """The waiting requests of one tenant."""

    __slots__ = ("heap", "key", "live", "name", "number")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.heap: list[Head] = []
        self.live = 0
        self.key: tuple[float, float] | None = None

    def peek(self, ordering: Ordering, now: float) -> Head | None:
        """Return the head, ranked afresh; past 16 whose ranks have grown, the one then first."""
        heap, rank_now = self.heap, ordering.rank
        left = _MOST_RANKED
        while heap:
            rank, order, entry = heap[0]
            if not entry.waiting:
                heapq.heappop(heap)
                continue
            if entry.lost and rank < _GIVEN_UP:
                heapq.heapreplace(heap, (_GIVEN_UP, order, entry))
                continue
            fresh = _GIVEN_UP if entry.lost else rank_now(entry.request, now)
            if fresh <= rank or not left:
                return heap[0]
            left -= 1
            heapq.heapreplace(heap, (fresh, order, entry))
        return None

    def compact(self) -> None:
        """Drop the husks when they are the majority."""
        if len(self.heap) > 32 and self.live * 2 < len(self.heap):
            self.heap = [item for item in self.heap if item[2].waiting]
            heapq.heapify(self.heap)


def _level(rank: Rank) -> float:
    return rank[0] if rank else 0.0
