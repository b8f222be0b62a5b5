"""The operator behind ``process``: a user's function with state and timers by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.control import ControlItem, Controlled, Probe, Watermark
from sage.dataflow.event_time import ArrivalTime, TimeReader
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import (
    Bound,
    Checkpointed,
    Gathering,
    Timed,
    Wrapper,
    is_operator,
    method_of,
)
from sage.dataflow.meter import Meter
from sage.dataflow.timers import TimeAtHand, TimeDomain, TimerFired


class ProcessOperator(Wrapper, Timed, Controlled, Bound, Checkpointed, Gathering):
    """Runs a user's function on records and timers.

    Args:
        target: the user's operator object, or a callable of a record and the context.
        time: what time a record is of.
        has_event_time: whether watermarks reach the operator.
        on_timer: with a callable, what is called with a timer's time and the context.
    """

    def __init__(
        self,
        target: Any,
        *,
        time: TimeReader,
        has_event_time: bool,
        on_timer: Callable[[float, RuntimeContext], Any] | None = None,
    ) -> None:
        super().__init__(target)
        self._time = time
        self._has_event_time = has_event_time
        self._on_timer = on_timer
        self._is_object = is_operator(target)
        self._services = JobServices()
        self._context = RuntimeContext("process")
        self._ready: list[Any] = []
        self._fired: Callable[[TimerFired], Iterable[Any] | None] = self._on_fired

    def guard_results(self, guard: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
        """Let timers on which the function raises end as the operator's options say."""
        self._fired = guard(self._on_fired)

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Take the job's clock."""
        self._services = services
        if isinstance(self._time, ArrivalTime):
            self._time = ArrivalTime(services.processing_time)

    def open(self, context: RuntimeContext) -> Any:
        """Open the user's object, which may set timers from then on."""
        self._context = context
        by_clock = isinstance(self._time, ArrivalTime)
        context.timers.begin(
            TimeAtHand(
                default=TimeDomain.PROCESSING if by_clock else TimeDomain.EVENT,
                has_event_time=self._has_event_time,
                processing_time=self._services.processing_time,
            )
        )
        if self._is_object:
            self._on_timer = _without_context(method_of(self.target, "on_timer"))
        return super().open(context)

    def execute(self, record: Any) -> list[Any] | None:
        """Fire the timers that are due before a record, and give the function the record."""
        timers, key = self._context.timers, self._context.key
        timestamp, watermark, data = self._time.read(record)
        if not isinstance(self._time, ArrivalTime):
            timers.watermark = max(timers.watermark, watermark)
        self._fire()
        self._context.state.key = key
        timers.timestamp = timestamp
        self._take(self.call(data) if self._is_object else self.call(data, self._context))
        self._fire()
        return self._emitted() or None

    def act(self, item: ControlItem) -> list[Any]:
        """Fire the timers that a watermark has reached."""
        if isinstance(item, Watermark):
            self._context.timers.watermark = max(self._context.timers.watermark, item.time)
            self._fire()
        if isinstance(item, Probe):
            self._fire_all()
        return self._emitted()

    def wake(self) -> list[Any]:
        """Fire the timers that the clock has reached."""
        self._fire()
        return self._emitted()

    def flush(self) -> list[Any]:
        """Fire every timer that is set, once; then flush the user's object."""
        self._fire_all()
        unfired = self._context.timers.clear()
        if unfired:
            self._context.metrics.add("timers_after_the_end", unfired)
        flush = method_of(self.target, "flush")
        if flush is not None:
            self._take(flush())
        return self._emitted()

    def settle(self) -> list[Any]:
        """Flush the user's object; the timers that are set stay so."""
        flush = method_of(self.target, "flush")
        if flush is not None:
            self._take(flush())
        return self._emitted()

    def saved(self) -> None:
        """Keep nothing beside the state and the timers."""

    def restore_saved(self, state: None) -> None:  # noqa: ARG002 - there is none
        """Wait for the timers that were restored."""
        self._ready = self._emitted()

    @staticmethod
    def divided(states: Sequence[None], parallelism: int) -> list[None]:  # noqa: ARG004 - as above
        """Return nothing for each replica."""
        return [None] * parallelism

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return self._time.shown(record)

    def _fire(self) -> None:
        timers = self._context.timers
        while (at := timers.next(TimeDomain.EVENT)) is not None and at <= timers.watermark:
            self._call_timer(*timers.pop(TimeDomain.EVENT))
        while (at := timers.next(TimeDomain.PROCESSING)) is not None:
            if at > self._services.processing_time():
                break
            self._call_timer(*timers.pop(TimeDomain.PROCESSING))

    def _fire_all(self) -> None:
        for at, key in self._context.timers.pop_all():
            self._call_timer(at, key)

    def _call_timer(self, at: float, key: Any) -> None:
        self._context.state.key = key
        self._context.timers.timestamp = at
        self._take(self._fired(TimerFired(key, at)))

    def _on_fired(self, timer: TimerFired) -> Iterable[Any] | None:
        if self._on_timer is None:
            return None
        records: Iterable[Any] | None = self._on_timer(timer.at, self._context)
        return records

    def _take(self, records: Iterable[Any] | None) -> None:
        if records is not None:
            # All of them or, when one raises, none.
            self._ready.extend(list(records))

    def _emitted(self) -> list[Any]:
        due = self._context.timers.next(TimeDomain.PROCESSING)
        self.due = None if due is None else due - self._services.clock_offset
        ready, self._ready = self._ready, []
        return ready


def _without_context(
    method: Callable[[float], Any] | None,
) -> Callable[[float, RuntimeContext], Any] | None:
    return None if method is None else lambda at, _: method(at)
