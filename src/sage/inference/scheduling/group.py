"""One model's instances, and the requests that wait for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.inference.scheduling.admission import Door
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.queue import Head, RequestQueue
from sage.inference.scheduling.request import Kind

AGEING_SHARE = 8
"""While requests wait too long, one in so many dispatches of their model goes to the oldest."""

_FIRST = float("-inf")
_LEAST_QUEUED, _QUEUED_EACH = 1024, 256


@dataclass(slots=True, eq=False)
class Group:
    """One (kind, model): the instances that serve it and the requests that wait for them.

    Attributes:
        kind: what it serves.
        model: the model's served name.
        queue: requests that wait for a slot.
        door: which of them cannot make it, and who gives way when the queue is full.
        retries: requests that wait for an instance they have not tried; few, and served first.
        instances: those that serve the model, up or down.
        passed: dispatches that have gone past one which waits too long.
        interval: smoothed seconds between two completions; 0 until two are known.
        last_end: when a request of the group last ended.
        pace: seconds of one engine's work that are begun in a second while requests wait.
        begun: such seconds since the last look at who is to be given up.
        looked: when that was.
        surveyed: when all that wait were last looked at, not only those with little time left.
        near: how many of those there were the last time; 0 when not counted since then.
    """

    kind: Kind
    model: str
    queue: RequestQueue
    door: Door = field(default_factory=Door)
    retries: list[Entry] = field(default_factory=list)
    instances: list[InstanceState] = field(default_factory=list)
    passed: int = 0
    interval: float = 0.0
    last_end: float | None = None
    pace: float = 0.0
    begun: float = 0.0
    looked: float = _FIRST
    surveyed: float = _FIRST
    near: int = 0

    @property
    def up(self) -> bool:
        """Whether any of its instances is up."""
        return any(state.up for state in self.instances)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self.queue.live + len(self.retries)

    def full(self, limit: int | None) -> bool:
        """Whether no more may wait: by default 256 for each instance, and at least 1,024."""
        if limit is None:
            limit = max(_LEAST_QUEUED, _QUEUED_EACH * len(self.instances))
        return self.waiting >= limit

    def open_instances(self, tried: tuple[str, ...] = ()) -> list[InstanceState]:
        """Return the instances with a free slot, without those tried already."""
        if tried:
            return [s for s in self.instances if s.open and s.spec.id not in tried]
        return [s for s in self.instances if s.up and len(s.running) < s.spec.max_requests]

    def head(self, now: float, max_wait: float) -> tuple[Head, bool] | None:
        """Return who goes next, and whether that is for its age alone; None when none waits."""
        if self.passed >= AGEING_SHARE - 1 and (entry := self.aged(now, max_wait)) is not None:
            return ((_FIRST,), entry.order, entry), True
        head = self.queue.peek(now)
        return None if head is None else (head, False)

    def aged(self, now: float, max_wait: float) -> Entry | None:
        """Return the oldest entry if it has waited longer than it should."""
        entry = self.queue.oldest()
        return None if entry is None or now - entry.request.arrived <= max_wait else entry

    def ended(self, now: float) -> None:
        """Learn from one more completion how fast the group serves."""
        if self.last_end is not None:
            gap = now - self.last_end
            self.interval = gap if self.interval == 0.0 else 0.9 * self.interval + 0.1 * gap
        self.last_end = now

    def retry_after(self) -> float:
        """Seconds until the queue that stands now will likely have been served, 1 to 60."""
        return min(60.0, max(1.0, self.waiting * self.interval))
