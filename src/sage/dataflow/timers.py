"""Timers that an operator sets by key, in event time and in processing time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, NamedTuple

from sage.dataflow.choices import read_choice
from sage.errors import ConfigError, DataflowError


class TimeDomain(StrEnum):
    """What a timer goes by."""

    EVENT = "event"
    PROCESSING = "processing"


class TimerFired(NamedTuple):
    """A timer that has come; errors and dead letters name it so.

    Attributes:
        key: whose it is.
        at: the time that it was set for.
    """

    key: Any
    at: float


def read_domain(value: object) -> TimeDomain:
    """Return the member of that name.

    Raises:
        ConfigError: there is none.
    """
    return read_choice(TimeDomain, value, "time")


@dataclass(frozen=True, slots=True)
class TimeAtHand:
    """What time it is for an operator.

    Attributes:
        default: what its timers go by when they do not say.
        has_event_time: whether watermarks reach it.
        processing_time: seconds since the epoch.
    """

    default: TimeDomain
    has_event_time: bool
    processing_time: Callable[[], float]


@dataclass(slots=True)
class _Queue:
    # (time, number, key); those that were cancelled are left here and found missing in `live`.
    heap: list[tuple[float, int, Any]] = field(default_factory=list)
    live: dict[tuple[float, Any], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedTimers:
    """What a checkpoint keeps of timers.

    Attributes:
        watermark: how far event time had gone on.
        timers: domain, time and key of each that was set, in the order in which they were set.
    """

    watermark: float = -math.inf
    timers: tuple[tuple[TimeDomain, float, Any], ...] = ()


class Timers:
    """The timers of one replica, by key.

    A key's timer for a moment exists once, however often it is set.

    Attributes:
        timestamp: of the record or timer at hand.
        watermark: how far event time has gone on.
    """

    def __init__(self) -> None:
        self.timestamp = -math.inf
        self.watermark = -math.inf
        self._queues = {domain: _Queue() for domain in TimeDomain}
        self._numbers = count()
        self._time: TimeAtHand | None = None

    def begin(self, time: TimeAtHand) -> None:
        """Let timers be set: the operator can be woken."""
        self._time = time

    @property
    def time(self) -> TimeAtHand:
        """What time it is.

        Raises:
            DataflowError: the operator cannot be woken.
        """
        if self._time is None:
            raise DataflowError("only operators of process() have a time and timers")
        return self._time

    def set(self, key: Any, at: float, domain: str | None) -> None:
        """Set a key's timer.

        Raises:
            ConfigError: the time is no finite number, or of no such domain.
            DataflowError: the operator has no such timers.
        """
        where = self._domain(domain)
        if not isinstance(at, (int, float)) or not math.isfinite(at):
            raise ConfigError(f"a timer was set for {at!r}; give a finite number")
        self._set(where, at, key)

    def cancel(self, key: Any, at: float, domain: str | None) -> None:
        """Forget a key's timer, if it is set."""
        self._queues[self._domain(domain)].live.pop((at, key), None)

    def next(self, domain: TimeDomain) -> float | None:
        """Return the earliest time of a timer that is set, or None."""
        queue = self._queues[domain]
        while (
            queue.heap
            and queue.live.get((queue.heap[0][0], queue.heap[0][2])) != (queue.heap[0][1])
        ):
            heapq.heappop(queue.heap)
        return queue.heap[0][0] if queue.heap else None

    def pop(self, domain: TimeDomain) -> tuple[float, Any]:
        """Take the timer that `next` spoke of; return its time and key."""
        queue = self._queues[domain]
        at, _, key = heapq.heappop(queue.heap)
        del queue.live[at, key]
        return at, key

    def pop_all(self) -> list[tuple[float, Any]]:
        """Take all timers that are set: those of event time first, each in their order."""
        taken = []
        for domain in TimeDomain:
            while self.next(domain) is not None:
                taken.append(self.pop(domain))
        return taken

    def saved(self) -> SavedTimers:
        """Return what a checkpoint keeps."""
        live = [
            (number, domain, at, key)
            for domain, queue in self._queues.items()
            for (at, key), number in queue.live.items()
        ]
        # Keys cannot be compared with each other, and need not be: numbers are unique.
        live.sort(key=lambda timer: timer[0])
        return SavedTimers(self.watermark, tuple(timer[1:] for timer in live))

    def restore(self, saved: SavedTimers) -> None:
        """Take over what a checkpoint kept."""
        self.clear()
        self.watermark = saved.watermark
        for domain, at, key in saved.timers:
            self._set(domain, at, key)

    def clear(self) -> int:
        """Forget all timers; return how many were set."""
        number = sum(len(queue.live) for queue in self._queues.values())
        self._queues = {domain: _Queue() for domain in TimeDomain}
        return number

    def _set(self, domain: TimeDomain, at: float, key: Any) -> None:
        queue = self._queues[domain]
        if (at, key) not in queue.live:
            number = next(self._numbers)
            queue.live[at, key] = number
            heapq.heappush(queue.heap, (at, number, key))

    def _domain(self, domain: str | None) -> TimeDomain:
        where = self.time.default if domain is None else read_domain(domain)
        if where is TimeDomain.EVENT and not self.time.has_event_time:
            raise DataflowError(
                "an event-time timer needs event time: give process(timestamp=…), or put "
                "event_time() further up"
            )
        return where
