"""The operator that keeps windows open, closes them when their time has come, and emits results."""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

from sage.dataflow.aggregation import (
    AccumulatorAggregation,
    Aggregation,
    JoinAggregation,
    ListAggregation,
    ReduceAggregation,
)
from sage.dataflow.context import RuntimeContext
from sage.dataflow.control import ControlItem, Controlled, Probe, Watermark
from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.event_time import BEGINNING, ArrivalTime, TimeReader
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import Bound, Checkpointed, Gathering, Timed, Wrapper
from sage.dataflow.meter import Meter
from sage.dataflow.windows import Window, WindowResult, Windows, overlapping
from sage.errors import LateRecordError

ENDED = math.inf

# What the windows of each key are kept under, in the keyed state.
TABLE = "sage.windows"
RESULTS, LATE = "results", "late"


class Late(StrEnum):
    """What becomes of a record that comes after its windows were given up."""

    DEAD_LETTER = "dead_letter"
    STREAM = "stream"
    DROP = "drop"


class How(StrEnum):
    """What a window makes of its records."""

    REDUCE = "reduce"
    AGGREGATE = "aggregate"
    APPLY = "apply"
    JOIN = "join"


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What the operator goes by.

    Attributes:
        windows: how time is divided.
        how: what a window makes of its records.
        time: what time a record is of.
        allowed_lateness: how long after its end a window is kept for late records.
        late: what becomes of records that come later still.
        name: of the operator, for dead letters.
    """

    windows: Windows
    how: How
    time: TimeReader
    allowed_lateness: float
    late: Late
    name: str


class _Pane:
    """One window of one key: what is kept, and how often it has emitted."""

    __slots__ = ("emitted", "kept")

    def __init__(self, kept: Any, emitted: int = 0) -> None:
        self.kept = kept
        self.emitted = emitted


class WindowOperator(Wrapper, Timed, Controlled, Bound, Checkpointed, Gathering):
    """Runs a user's aggregation over windows.

    Args:
        target: the user's callable or operator object.
        settings: what the operator goes by.
    """

    def __init__(self, target: Any, *, settings: WindowSettings) -> None:
        super().__init__(target)
        self._settings = settings
        self._time = settings.time
        self._aggregation = _aggregation(settings.how, target, self.call)
        self._tagged = settings.late is Late.STREAM
        self._watermark = BEGINNING
        self._panes: dict[Any, dict[Window, _Pane]] = {}
        # When to look after a window: (time, number, key, window). Those of a session that has
        # grown into another one find nothing.
        self._schedule: list[tuple[float, int, Any, Window]] = []
        self._numbers = count()
        self._ready: list[Any] = []
        self._services = JobServices()
        self._meter = Meter()
        self._context: RuntimeContext | None = None
        self._values: Callable[[WindowResult], Iterable[Any] | None] = self._values_of

    def guard_results(self, guard: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
        """Let the results of windows that fail end as the operator's options say."""
        self._values = guard(self._values_of)

    @staticmethod
    def shown_result(thing: WindowResult) -> WindowResult:
        """Return a window with what it has gathered until now."""
        return thing._replace(value=copy.copy(thing.value))

    def bind(self, services: JobServices, meter: Meter) -> None:
        """Take the job's clock and dead letters."""
        self._services, self._meter = services, meter
        if isinstance(self._time, ArrivalTime):
            self._time = ArrivalTime(services.processing_time)

    def open(self, context: RuntimeContext) -> Any:
        """Open the user's object."""
        self._context = context
        self._panes = context.state.table(TABLE)
        return super().open(context)

    def execute(self, record: Any) -> list[Any] | None:
        """Put a record into its windows; return the results of those whose time has come."""
        assert self._context is not None
        timestamp, watermark, data = self._time.read(record)
        key = self._context.key
        if watermark > self._watermark:
            self._watermark = watermark
            if self._schedule and self._schedule[0][0] <= watermark:
                self._advance(watermark)
                self._context.state.key = key
        self._place(key, timestamp, data)
        return self._emitted()

    def act(self, item: ControlItem) -> list[Any]:
        """Emit the results of the windows that a watermark ends."""
        by_clock = isinstance(self._time, ArrivalTime)
        if isinstance(item, Watermark) and not by_clock and item.time > self._watermark:
            self._advance(item.time)
        if isinstance(item, Probe):
            # Time has not ended: the windows that are open are wanted by the loop's other records.
            watermark = self._watermark
            self._advance(ENDED)
            self._watermark = watermark
        return self._emitted() or []

    def wake(self) -> list[Any]:
        """Emit the results of the windows that have ended by the clock."""
        assert isinstance(self._time, ArrivalTime)
        self._advance(self._time.now())
        return self._emitted() or []

    def flush(self) -> list[Any]:
        """Emit the results of all windows: the input has ended."""
        self._advance(ENDED)
        return self._emitted() or []

    def saved(self) -> float:
        """Return the watermark; the windows are kept by key."""
        return self._watermark

    def restore_saved(self, state: float) -> None:
        """Let time be where it was, and look after the windows that were restored."""
        self._watermark = state
        self._schedule.clear()
        for key, panes in self._panes.items():
            for window in panes:
                self._look_after(key, window)
        self._ready = self._emitted() or []

    @staticmethod
    def divided(states: Sequence[float], parallelism: int) -> list[float]:
        """Let every replica begin where the one that was behind has been."""
        return [min(states)] * parallelism

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return self._shown(self._time.shown(record))

    def _shown(self, data: Any) -> Any:
        return data[1] if self._settings.how is How.JOIN else data

    def _emitted(self) -> list[Any] | None:
        if self._schedule and isinstance(self._time, ArrivalTime):
            self.due = self._schedule[0][0] - self._services.clock_offset
        else:
            self.due = None
        if not self._ready:
            return None
        ready, self._ready = self._ready, []
        return ready

    def _place(self, key: Any, timestamp: float, data: Any) -> None:
        windows = self._settings.windows
        missed = 0
        grown: list[tuple[Window, Any]] = []
        for window in windows.assign(timestamp):
            if windows.merging:
                window = self._merged(key, window)  # noqa: PLW2901 - what it has grown into
            if window.end + self._settings.allowed_lateness <= self._watermark:
                missed += 1
            else:
                grown.append((window, self._grown(key, window, data)))
        # Only now: a record on which the aggregation raises is in all of its windows or in none.
        for window, kept in grown:
            self._keep(key, window, kept)
        if missed:
            self._miss(timestamp, data, whole=missed == len(windows.assign(timestamp)))

    def _grown(self, key: Any, window: Window, data: Any) -> Any:
        """Return what is kept of a window with one record more."""
        pane = self._panes.get(key, {}).get(window)
        if pane is None:
            return self._aggregation.first(data)
        return self._aggregation.add(pane.kept, data)

    def _keep(self, key: Any, window: Window, kept: Any) -> None:
        panes = self._panes.setdefault(key, {})
        pane = panes.get(window)
        if pane is None:
            panes[window] = pane = _Pane(kept)
            self._look_after(key, window)
        else:
            pane.kept = kept
        if window.end <= self._watermark:
            self._emit(key, window, pane)

    def _merged(self, key: Any, window: Window) -> Window:
        """Join the sessions of a key that a record's window overlaps; return the session."""
        panes = self._panes.get(key, {})
        parts = overlapping(window, panes)
        if not parts:
            return window
        whole = Window(
            min(window.start, parts[0].start), max(window.end, *(part.end for part in parts))
        )
        if parts == [whole]:
            return whole
        kept = panes[parts[0]].kept
        for part in parts[1:]:
            kept = self._aggregation.merge(kept, panes[part].kept)
        panes[whole] = _Pane(kept, max([panes.pop(part).emitted for part in parts]))
        self._look_after(key, whole)
        return whole

    def _look_after(self, key: Any, window: Window) -> None:
        late = window.end <= self._watermark
        when = window.end + (self._settings.allowed_lateness if late else 0)
        heapq.heappush(self._schedule, (when, next(self._numbers), key, window))

    def _advance(self, watermark: float) -> None:
        """Let time go on, and close windows in the order of their ends."""
        self._watermark = max(self._watermark, watermark)
        schedule = self._schedule
        while schedule and schedule[0][0] <= watermark:
            when, _, key, window = heapq.heappop(schedule)
            pane = self._panes.get(key, {}).get(window)
            if pane is None:
                continue
            kept_until = window.end + self._settings.allowed_lateness
            if when >= kept_until:
                self._forget(key, window)
            else:
                heapq.heappush(schedule, (kept_until, next(self._numbers), key, window))
            if when == window.end:
                self._emit(key, window, pane)

    def _emit(self, key: Any, window: Window, pane: _Pane) -> None:
        assert self._context is not None
        self._context.state.key = key
        values = self._values(WindowResult(key, *window, pane.kept, pane.emitted))
        if values is None:
            return
        for value in values:
            result = WindowResult(key, *window, value, pane.emitted)
            self._ready.append((RESULTS, result) if self._tagged else result)
        pane.emitted += 1

    def _values_of(self, window: WindowResult) -> Iterable[Any] | None:
        return self._aggregation.values(window.value)

    def _forget(self, key: Any, window: Window) -> None:
        panes = self._panes[key]
        del panes[window]
        if not panes:
            del self._panes[key]

    def _miss(self, timestamp: float, data: Any, *, whole: bool) -> None:
        """Count a record that came too late for some of its windows, or for all."""
        assert self._context is not None
        if not whole:
            self._context.metrics.add("late_for_some")
            return
        self._context.metrics.add("late")
        record = self._shown(data)
        if self._tagged:
            self._ready.append((LATE, record))
            return
        self._meter.dropped += 1
        if self._settings.late is Late.DEAD_LETTER:
            error = LateRecordError(timestamp, self._watermark)
            now = self._services.wall_clock()
            self._services.dead_letters.add(DeadLetter(record, error, 1, self._settings.name, now))


def _aggregation(how: How, target: Any, call: Callable[..., Any]) -> Aggregation:
    if how is How.AGGREGATE:
        return AccumulatorAggregation(target)
    if how is How.REDUCE:
        return ReduceAggregation(call)
    if how is How.JOIN:
        return JoinAggregation(call)
    return ListAggregation(call)
