"""Requests that wait, and the order they leave in."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import Ordering, Rank
from sage.inference.scheduling.request import Kind, Request


@dataclass(slots=True, eq=False)
class Entry:
    """A request between its acceptance and its end.

    Attributes:
        request: what was accepted.
        order: number of its acceptance, which breaks ties of rank.
        group: the queue it belongs to.
        instance: where it runs; None while it waits.
        waiting: whether it is in its group's queue.
        tried: ids of the instances that could not be reached with it.
        first_token: when its first token came, in seconds of the caller's clock.
        tokens: how many tokens have been reported for it.
    """

    request: Request
    order: int
    group: Group
    instance: InstanceState | None = None
    waiting: bool = False
    tried: tuple[str, ...] = ()
    first_token: float | None = None
    tokens: int = 0


@dataclass(slots=True)
class RequestQueue:
    """A heap by (rank, order of acceptance): push, pop and remove are O(log n).

    A removed request stays in the heap as a husk until it surfaces or husks are the majority.
    """

    ordering: Ordering
    _heap: list[tuple[Rank, int, Entry]] = field(default_factory=list)
    _live: int = 0

    def __len__(self) -> int:
        return self._live

    def __iter__(self) -> Iterator[Entry]:
        """Yield the waiting entries, in no order."""
        return (entry for _, _, entry in self._heap if entry.waiting)

    def push(self, entry: Entry, now: float) -> None:
        """Let the entry wait."""
        entry.waiting = True
        self._live += 1
        rank = self.ordering.rank(entry.request, now)
        heapq.heappush(self._heap, (rank, entry.order, entry))

    def peek(self, now: float) -> tuple[Rank, int, Entry] | None:
        """Return the entry that goes next with its rank and order, or None when none waits."""
        heap = self._heap
        while heap:
            rank, order, entry = heap[0]
            if not entry.waiting:
                heapq.heappop(heap)
                continue
            fresh = self.ordering.rank(entry.request, now)
            if fresh <= rank:
                return heap[0]
            heapq.heapreplace(heap, (fresh, order, entry))
        return None

    def remove(self, entry: Entry) -> None:
        """Take a waiting entry out."""
        entry.waiting = False
        self._live -= 1
        if len(self._heap) > 32 and self._live * 2 < len(self._heap):
            self._heap = [item for item in self._heap if item[2].waiting]
            heapq.heapify(self._heap)

    def reordered(self, ordering: Ordering, now: float) -> RequestQueue:
        """Return a queue of the same entries under another ordering."""
        queue = RequestQueue(ordering)
        for entry in self:
            queue.push(entry, now)
        return queue


@dataclass(slots=True, eq=False)
class Group:
    """One (kind, model): the instances that serve it and the requests that wait for them.

    Attributes:
        kind: what it serves.
        model: the model's served name.
        queue: requests that wait for a slot.
        retries: requests that wait for an instance they have not tried; few, and served first.
        instances: those that serve the model, up or down.
        interval: smoothed seconds between two completions; 0 until two are known.
        last_end: when a request of the group last ended.
    """

    kind: Kind
    model: str
    queue: RequestQueue
    retries: list[Entry] = field(default_factory=list)
    instances: list[InstanceState] = field(default_factory=list)
    interval: float = 0.0
    last_end: float | None = None

    @property
    def up(self) -> bool:
        """Whether any of its instances is up."""
        return any(state.up for state in self.instances)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self.queue) + len(self.retries)

    def open_instances(self, tried: tuple[str, ...] = ()) -> list[InstanceState]:
        """Return the instances with a free slot, without those tried already."""
        if tried:
            return [s for s in self.instances if s.open and s.spec.id not in tried]
        return [s for s in self.instances if s.up and len(s.running) < s.spec.max_requests]

    def ended(self, now: float) -> None:
        """Learn from one more completion how fast the group serves."""
        if self.last_end is not None:
            gap = now - self.last_end
            self.interval = gap if self.interval == 0.0 else 0.9 * self.interval + 0.1 * gap
        self.last_end = now

    def retry_after(self) -> float:
        """Seconds until the queue that stands now will likely have been served, 1 to 60."""
        return min(60.0, max(1.0, self.waiting * self.interval))
