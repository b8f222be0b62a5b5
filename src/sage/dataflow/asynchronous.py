"""Operators whose ``execute`` is a coroutine function: many records in flight at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.dataflow.checkpoint.operator_state import InFlightRecords
from sage.dataflow.control import ControlItem
from sage.dataflow.graph import Kind
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.replica import OperatorReplica

DEFAULT_CONCURRENCY = 64


class _Slot:
    """One record on its way through the operator."""

    __slots__ = ("done", "error", "group", "record", "result")

    def __init__(self, record: Any, group: _Group) -> None:
        self.record = record
        self.group = group
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False


class _Group:
    """The records between two control items.

    Attributes:
        left: how many of them are not emitted yet.
        item: the control item that comes after them, once there is one.
    """

    __slots__ = ("item", "left")

    def __init__(self) -> None:
        self.left = 0
        self.item: ControlItem | None = None


class InFlight:
    """The records that one replica of an async operator works on.

    Belongs to one event loop. A worker that has finished a record goes on with the next at once, so
    a few more records are held than are in flight. In order, results wait for those before them; a
    slow record then holds back as many others as may be in flight.

    Args:
        operator: the replica.
        changed: called when there is a result to `collect`, or room for more records.
        clock: seconds.
    """

    def __init__(
        self,
        operator: OperatorReplica,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        options = operator.node.options
        self._operator = operator
        self._call = operator.awaited
        self._changed = changed
        self._limit = options.concurrency or DEFAULT_CONCURRENCY
        self._ahead = self._limit // 4
        self._ordered = options.ordered
        self._workers: set[asyncio.Task[None]] = set()
        self._todo: deque[_Slot] = deque()
        self._at_work: set[_Slot] = set()
        # In order: every record not yet emitted. Otherwise: those that are done.
        self._results: deque[_Slot] = deque()
        # The last one is open: no control item has come after it yet.
        self._groups: deque[_Group] = deque([_Group()])
        self._clock = clock
        self._busy_until = 0.0
        # Workers that will look for another record. A task that has ended is still among
        # `_workers` until the event loop comes round to its callback.
        self._looking = 0
        self._cancelled = False

    @property
    def room(self) -> int:
        """How many more records may be given; 0 or less for none."""
        room = self._limit + self._ahead - len(self._at_work) - len(self._todo)
        if self._ordered:
            return min(room, 2 * self._limit + self._ahead - len(self._results))
        return room

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing waits to be emitted."""
        return not (self._at_work or self._todo or self._results) and len(self._groups) == 1

    def begin(self, records: Sequence[Any]) -> None:
        """Take records to work on."""
        group = self._groups[-1]
        group.left += len(records)
        slots = [_Slot(record, group) for record in records]
        self._todo.extend(slots)
        if self._ordered:
            self._results.extend(slots)
        loop = asyncio.get_running_loop()
        for _ in range(min(len(slots), self._limit - self._looking)):
            self._looking += 1
            worker = loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def control(self, item: ControlItem) -> None:
        """Take a control item, which stays behind the records taken before it."""
        self._groups[-1].item = item
        self._groups.append(_Group())
        self._changed()

    def passed(self) -> ControlItem | None:
        """Return a control item before which every record is collected, or None."""
        if len(self._groups) == 1 or self._groups[0].left:
            return None
        return self._groups.popleft().item

    def collect(self) -> list[Any]:
        """Return what the operator emits of the records that are done.

        In order, no further than the next control item.

        Raises:
            RecordFailedError: it raised on one of them; ``done`` is what it emits of those before.
        """
        emitted: list[Any] = []
        while self._results and self._results[0].done:
            if self._ordered and self._results[0].group is not self._groups[0]:
                break
            slot = self._results.popleft()
            slot.group.left -= 1
            if slot.error is not None:
                self._operator.meter.failed += 1
                failure = RecordFailedError(self._operator.name, slot.record, slot.error)
                failure.done = emitted
                raise failure from slot.error
            emitted += self._emitted(slot.record, slot.result)
        return emitted

    def unfinished(self) -> InFlightRecords:
        """Return all that was taken and is not collected, for a checkpoint."""
        if self._ordered:
            slots = list(self._results)
        else:
            slots = [*self._results, *self._at_work, *self._todo]
        items: list[Any] = []
        for group in self._groups:
            items += [slot.record for slot in slots if slot.group is group]
            if group.item is not None:
                items.append(group.item)
        return InFlightRecords(tuple(items), len(slots) - len(self._todo))

    def resume(self, items: Iterable[Any]) -> None:
        """Begin again on what a checkpoint says was unfinished."""
        for item in items:
            if isinstance(item, ControlItem):
                self.control(item)
            else:
                self.begin([item])

    async def cancel(self) -> None:
        """Cancel what is in flight and wait until it has ended."""
        self._cancelled = True
        self._todo.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        try:
            await self._work_on()
        finally:
            self._looking -= 1

    async def _work_on(self) -> None:
        while self._todo:
            slot = self._todo.popleft()
            start = self._begun(slot)
            try:
                slot.result = await self._call(slot.record)
            except BaseException as error:
                # Only a cancellation of ours ends the worker; any other is the operator's failure.
                if self._cancelled:
                    raise
                slot.error = error
            finally:
                self._ended(slot, start)
            slot.done = True
            if not self._ordered:
                self._results.append(slot)
            self._changed()

    def _begun(self, slot: _Slot) -> float:
        now = self._clock()
        if not self._at_work:
            self._busy_until = now
        self._at_work.add(slot)
        self._operator.traffic.in_flight += 1
        self._operator.meter.records_in += 1
        return now

    def _ended(self, slot: _Slot, start: float) -> None:
        now = self._clock()
        self._at_work.discard(slot)
        self._operator.traffic.in_flight -= 1
        meter = self._operator.meter
        meter.latency.add(now - start)
        meter.busy += now - self._busy_until
        self._busy_until = now

    def _emitted(self, record: Any, result: Any) -> Sequence[Any]:
        meter, kind = self._operator.meter, self._operator.kind
        emits: Sequence[Any]
        if kind is Kind.FLATMAP:
            emits = list(result) if result is not None else ()
        elif kind is Kind.SINK:
            meter.records_out += 1
            return ()
        else:
            dropped = result is None if kind is Kind.MAP else not result
            meter.dropped += dropped
            emits = () if dropped else (result if kind is Kind.MAP else record,)
        meter.records_out += len(emits)
        return emits


async def work(operator: OperatorReplica, records: Sequence[Any]) -> list[Any]:
    """Take a batch through an async operator and return what it emits.

    Raises:
        RecordFailedError: it raised; ``done`` is what it emits of the records before.
    """
    changed = asyncio.Event()
    in_flight = InFlight(operator, changed.set)
    emitted: list[Any] = []
    begun = 0
    try:
        while begun < len(records) or not in_flight.idle:
            changed.clear()
            room = max(in_flight.room, 0)
            in_flight.begin(records[begun : begun + room])
            begun += len(records[begun : begun + room])
            await changed.wait()
            emitted += in_flight.collect()
    except RecordFailedError as failure:
        failure.done[:0] = emitted
        raise
    finally:
        await in_flight.cancel()
    return emitted
