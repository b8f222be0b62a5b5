"""Which of the requests that wait cannot all be in time, and whose loss costs the least."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.forecast import NEVER, Forecast
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.request import Kind

# Seconds between two looks at a queue: one takes about a microsecond for each that is looked at,
# so the more they are the fewer looks. Where all are too many for each time, those are looked at
# that have so many seconds left, unless these are too many to be looked at in time.
_LOOK = 0.05
_LOOK_PAIR = 1e-8
_NEAR = 2.0
_MOST_NEAR = 10_000
_MEMORY = 2.0
_PAUSE = 1.0
_SLOWEST, _FASTEST = 0.25, 2.0


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


class Triage:
    """Gives requests up for the others' sake, and tells those whose SLO has long been lost.

    Args:
        forecast: knows by when requests must start.
        max_wait: seconds after which a request that lost its SLO need not wait any longer.
    """

    def __init__(self, forecast: Forecast, max_wait: float) -> None:
        self._forecast = forecast
        self._max_wait = max_wait

    def look(self, group: Group, now: float) -> None:
        """Give up those whose work keeps the most others late, when not all can be in time.

        The fleet is taken for one server, as fast as it has been of late with requests waiting.
        """
        queue, spell = group.queue, now - group.looked
        if spell < _LOOK:
            return
        if now - group.surveyed >= _LOOK_PAIR * queue.live * queue.live:
            group.surveyed, group.near = now, 0
            self._triage(group, list(queue), now)
        elif group.near <= _MOST_NEAR and spell >= _LOOK_PAIR * group.near * group.near:
            # What comes later cannot make these late, so without it the rule finds the same of
            # them; but whom it gave up for the sake of later ones must stay so.
            near = group.door.due_by(now + _NEAR, now)
            group.near = len(near)
            self._triage(group, [entry for entry in near if not entry.lost], now)

    def _triage(self, group: Group, entries: list[Entry], now: float) -> None:
        """Give up or take back some of the entries, so that the most are in time."""
        pace = self._pace(group, now)
        jobs: list[tuple[float, float, int, Entry]] = []
        for entry in entries:
            cautious, latest, _ = self._forecast.start_times(entry.request, now)
            if now <= latest < NEVER:
                size = entry.size or self.size(entry)
                jobs.append((max(0.0, cautious - now) * pace + size, size, entry.order, entry))
        jobs.sort()
        lost = set(too_many([(job[0], job[1]) for job in jobs]))
        restored: list[Entry] = []
        for place, job in enumerate(jobs):
            entry = job[3]
            if place not in lost:
                if entry.lost:
                    restored.append(entry)
            elif not entry.lost:
                entry.lost = True
                group.door.given_up(entry)
        if restored:
            group.queue.restore(restored, now)

    def _pace(self, group: Group, now: float) -> float:
        """Return the seconds of one engine's work that the group has begun in a second of late."""
        up = sum(state.up for state in group.instances)
        spell = now - group.looked
        if spell > _PAUSE or not group.pace:
            group.pace = float(up)
        else:
            group.pace += min(1.0, spell / _MEMORY) * (group.begun / spell - group.pace)
        group.looked, group.begun = now, 0.0
        return min(max(group.pace, _SLOWEST * up), _FASTEST * up)

    def begins(self, entry: Entry, state: InstanceState) -> None:
        """A request was given to an instance."""
        group: Group = entry.group
        if entry.request.kind is Kind.EMBEDDING:
            group.begun += self.size(entry)
            return
        cached = entry.prompt - entry.new
        group.begun += state.stalls.steps.whole(entry.new, cached, entry.output)

    def size(self, entry: Entry) -> float:
        """Predict the seconds of one engine that a request will take; 0 while none is known."""
        if entry.size:
            return entry.size
        request, prompt = entry.request, entry.prompt
        group: Group = entry.group
        if request.kind is Kind.EMBEDDING:
            for state in group.instances:
                if state.latency.ready:
                    entry.size = prompt * state.latency.prefill_per_token
                    break
            return entry.size
        for state in group.instances:
            steps = state.stalls.steps
            if steps.ready:
                new = state.uncached(request, prompt)
                seconds = steps.whole(new, prompt - new, entry.output)
                if not entry.size or seconds < entry.size:
                    entry.size = seconds
                if not request.prefix:
                    break
        return entry.size

    def hopeless(self, group: Group, now: float) -> list[Entry]:
        """Return those that have waited too long and lost their SLO, while others may keep it."""
        found: list[Entry] = []
        if group.aged(now, self._max_wait) is None:
            return found
        head = group.queue.peek(now)
        if head is None or not head[0] or head[0][0] > 0.0:
            return found
        for entry in group.queue:
            waited = now - entry.request.arrived > self._max_wait
            if not waited or self._forecast.start_times(entry.request, now)[1] >= now:
                break
            found.append(entry)
        return found
