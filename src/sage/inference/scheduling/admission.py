"""Who is turned away: those that cannot make it, and those that give way in a full queue."""

from __future__ import annotations

import heapq
from collections import deque

from sage.inference.scheduling.entry import Entry


class Door:
    """Watches the waiting requests of one model; every operation is O(log n).

    It knows three things of each: the time from which its targets cannot be met even if it is
    dispatched at once, whether missing them makes the answer useless, and its priority. What
    has left the queue stays here as a husk until it surfaces or husks are the majority.
    """

    __slots__ = ("_deadlines", "_hopeless", "_large", "_low", "_slos")

    def __init__(self) -> None:
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._slos: list[tuple[float, int, Entry]] = []
        self._hopeless: deque[Entry] = deque()
        self._low: list[tuple[int, int, Entry]] = []
        self._large: list[tuple[float, int, Entry]] = []

    def enters(self, entry: Entry, slo_until: float, useful_until: float, live: int) -> None:
        """Watch a request that has begun to wait.

        Args:
            entry: which.
            slo_until: when its SLO is lost; infinite without one.
            useful_until: when its deadline is lost; infinite without one.
            live: how many wait in its queue.
        """
        if useful_until < float("inf"):
            heapq.heappush(self._deadlines, (useful_until, entry.order, entry))
        if slo_until < useful_until:
            heapq.heappush(self._slos, (slo_until, entry.order, entry))
        heapq.heappush(self._low, (entry.request.priority, -entry.order, entry))
        if entry.size:
            heapq.heappush(self._large, (-entry.size, -entry.order, entry))
        self._compact(live)

    def given_up(self, entry: Entry) -> None:
        """A request was given up so that others are in time."""
        self._hopeless.appendleft(entry)

    def next_time(self) -> float | None:
        """Return when the next of them loses its deadline; None when none can."""
        return self._deadlines[0][0] if self._deadlines else None

    def useless(self, now: float) -> list[Entry]:
        """Return the requests that can no longer meet their deadline, each once."""
        deadlines = self._deadlines
        found: list[Entry] = []
        while deadlines and (deadlines[0][0] < now or not deadlines[0][2].waiting):
            entry = heapq.heappop(deadlines)[2]
            if entry.waiting:
                found.append(entry)
        return found

    def due_by(self, until: float, now: float) -> list[Entry]:
        """Return those that lose SLO or deadline between now and then if they wait on."""
        self._pass_over(now)
        found: dict[int, Entry] = {}
        for heap in (self._slos, self._deadlines):
            # Below an entry of a heap are only such that are due no earlier.
            places = [0]
            while places:
                place = places.pop()
                if place < len(heap) and heap[place][0] <= until:
                    places += (2 * place + 1, 2 * place + 2)
                    entry = heap[place][2]
                    if entry.waiting:
                        found[entry.order] = entry
        return list(found.values())

    def gives_way(self, priority: int, size: float, now: float) -> Entry | None:
        """Return who leaves a full queue for a newcomer of that priority.

        The first that has lost its SLO, if it is not above the newcomer; else the newest of the
        lowest priority, if that is below the newcomer's; else, where sizes are known, the largest,
        if it is larger and not above the newcomer; else None: the newcomer is refused.
        """
        self._pass_over(now)
        hopeless = self._hopeless
        while hopeless and not hopeless[0].waiting:
            hopeless.popleft()
        if hopeless and hopeless[0].request.priority <= priority:
            return hopeless[0]
        low = self._low
        while low and not low[0][2].waiting:
            heapq.heappop(low)
        if low and low[0][0] < priority:
            return low[0][2]
        large = self._large
        while large and not large[0][2].waiting:
            heapq.heappop(large)
        if large and -large[0][0] > size and large[0][2].request.priority <= priority:
            return large[0][2]
        return None

    def _pass_over(self, now: float) -> None:
        """Take those out of the watch for SLOs that have lost theirs."""
        slos = self._slos
        while slos and (slos[0][0] < now or not slos[0][2].waiting):
            self._hopeless.append(heapq.heappop(slos)[2])

    def _compact(self, live: int) -> None:
        if len(self._low) > 32 + 2 * live:
            self._low = [item for item in self._low if item[2].waiting]
            heapq.heapify(self._low)
        for heap in (self._deadlines, self._slos, self._large):
            if len(heap) > 32 + 2 * live:
                heap[:] = [item for item in heap if item[2].waiting]
                heapq.heapify(heap)
        if len(self._hopeless) > 32 + 2 * live:
            self._hopeless = deque(entry for entry in self._hopeless if entry.waiting)
