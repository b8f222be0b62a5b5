"""The bounded queue between two stages: lists of records, backpressure, an end.

All replicas of the consuming stage take from one channel, so the one that is free takes next.
A control item keeps its place among the lists; when it is at the head, each consumer gets it before
any record that came after it. A producer that has sent a checkpoint's barrier is held until the
other ones have: what it sends meanwhile waits apart.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from sage.dataflow.control import Alignment, Barrier, ControlItem


class ChannelClosed(Exception):  # noqa: N818 - a signal between threads, never shown to a user
    """The job was stopped; nothing moves any more."""


class EndOfStream(Exception):  # noqa: N818 - a signal between threads, never shown to a user
    """Every producer has finished and every record was taken."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """A snapshot of a channel.

    Attributes:
        queued: records that wait.
        capacity: from how many waiting records on producers stop.
        producers: producers that have not finished.
    """

    queued: int
    capacity: int
    producers: int


class _Held:
    """What a producer has sent after a barrier that the others have still to send.

    Attributes:
        sent: record lists and control items; None stands for its end.
        records: how many there are.
    """

    __slots__ = ("records", "sent")

    def __init__(self) -> None:
        self.sent: deque[list[Any] | ControlItem | None] = deque()
        self.records = 0


class Channel:
    """A FIFO of record lists.

    Args:
        capacity: from how many waiting records on producers stop; a list that was begun goes in
            whole, so a channel holds less than ``capacity`` plus one list a producer.
        producers: how many producers will call `finish`.
        consumers: how many consumers take.
        clock: seconds.
    """

    def __init__(
        self,
        capacity: int,
        producers: int = 1,
        consumers: int = 1,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._producers = producers
        self._consumers = consumers
        self._lists: deque[list[Any] | ControlItem] = deque()
        self._queued = 0
        # Made by the first control item: most channels never see one.
        self._alignment: Alignment | None = None
        # Control items that a consumer has still to take, the other ones having passed them.
        self._mail: list[deque[ControlItem]] = [deque() for _ in range(consumers)]
        # Each open batch with its producer.
        self._open_batches: list[tuple[deque[Any], Hashable]] = []
        self._held: dict[Hashable, _Held] = {}
        self._closed = False
        self._refusal: Exception | None = None
        self._lock = threading.Lock()
        self._not_full = threading.Condition(self._lock)
        # Called, and left out, when there is something to take; the lock is held then.
        self._sleepers: deque[Callable[[], None]] = deque()
        self._close_listeners: list[Callable[[], None]] = []

    @property
    def hungry(self) -> bool:
        """Whether a consumer waits; read without the lock by producers of single records."""
        return bool(self._sleepers)

    def put(self, records: list[Any], producer: Hashable = None) -> float:
        """Append a list, waiting while the channel is full; return the seconds waited.

        Args:
            records: the list.
            producer: who puts it, as in `control`; None for one that never sends a barrier.

        Raises:
            ChannelClosed: the job was stopped.
        """
        if not records:
            return 0.0
        with self._lock:
            return self._put(records, producer)

    def control(self, item: ControlItem, producer: Hashable) -> None:
        """Append a producer's control item behind its records; never waits."""
        with self._lock:
            if producer in self._held:
                self._held[producer].sent.append(item)
            else:
                self._arrive(item, producer)

    def take(
        self, limit: int, timeout: float | None = None, consumer: int = 0
    ) -> list[Any] | ControlItem:
        """Return up to ``limit`` records, in order; empty after ``timeout`` seconds without any.

        A consumer takes no more than its share of what waits, so that the others find some too.
        A control item is returned by itself.

        Args:
            limit: most records.
            timeout: seconds.
            consumer: number of the consumer, from 0.

        Raises:
            EndOfStream: there will be no more.
            ChannelClosed: the job was stopped.
        """
        with self._lock:
            if not self._await_records(timeout, consumer):
                return []
            return self._pop_share(limit, consumer)

    def take_now(
        self, limit: int, ready: Callable[[], None], consumer: int = 0
    ) -> list[Any] | ControlItem:
        """Return up to ``limit`` records without waiting, for a consumer on an event loop.

        Args:
            limit: most records.
            ready: called once, from another thread, when there is something to take; only when
                this call returned nothing.
            consumer: number of the consumer, from 0.

        Raises:
            EndOfStream: there will be no more.
            ChannelClosed: the job was stopped.
        """
        with self._lock:
            self._forget(ready)
            return self._pop_share(limit, consumer) if self._has_records(ready, consumer) else []

    def pass_on(self, ready: Callable[[], None]) -> None:
        """Let another consumer take what this one was called for, or would be, and cannot."""
        with self._lock:
            self._forget(ready)
            if self._queued:
                self._wake(1)

    def on_close(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the channel is closed, or now if it is."""
        with self._lock:
            self._close_listeners.append(listener)
            if self._closed:
                listener()

    def off_close(self, listener: Callable[[], None]) -> None:
        """Call a listener of `on_close` no more; it is not being called when this returns."""
        with self._lock:
            self._close_listeners.remove(listener)

    def open_batch(self, producer: Hashable = None) -> deque[Any]:
        """Return a list in the making, for a producer that makes one record at a time.

        The producer appends to it without a lock and calls `flush` when the channel is hungry or
        the batch is large. Meanwhile a consumer that finds nothing else takes from it, so a
        producer that is slow to make its next record keeps none back.

        Args:
            producer: as in `put`.
        """
        batch: deque[Any] = deque()
        with self._lock:
            self._open_batches.append((batch, producer))
        return batch

    def flush(self, batch: deque[Any], producer: Hashable = None) -> float:
        """Put what an open batch holds, waiting while the channel is full, as `put` does.

        Raises:
            ChannelClosed: the job was stopped.
        """
        with self._lock:
            return self._put(_drain(batch), producer)

    def finish(self, producer: Hashable = None) -> None:
        """Say that one producer will put no more; what its open batch holds is still taken.

        Args:
            producer: the one that finishes, as it was named in `control`.
        """
        with self._lock:
            if producer in self._held:
                self._held[producer].sent.append(None)
            else:
                self._finish(producer)
            self._wake(len(self._sleepers))

    def refuse(self, error: Exception) -> None:
        """Raise an error to who puts records from now on: nobody takes them any more."""
        with self._lock:
            self._refusal = error

    @property
    def closed(self) -> bool:
        """Whether the job was stopped."""
        return self._closed

    @property
    def full(self) -> bool:
        """Whether a producer would wait."""
        return self._queued >= self._capacity

    def close(self) -> None:
        """Stop: every waiting or later put and take raises `ChannelClosed`."""
        with self._lock:
            self._closed = True
            self._wake(len(self._sleepers))
            self._made_room()
            for listener in self._close_listeners:
                listener()

    def statistics(self) -> ChannelStatistics:
        """Return a snapshot."""
        with self._lock:
            queued = self._queued + sum(len(batch) for batch, _ in self._open_batches)
            queued += sum(held.records for held in self._held.values())
            return ChannelStatistics(queued, self._capacity, self._producers)

    def _put(self, records: list[Any], producer: Hashable) -> float:
        # Records are in the queue before the producer waits: those of an open batch, drained
        # above, would otherwise be overtaken by the next ones put in it.
        self._add(records, producer)
        waited = self._await_room(producer) if self._is_full(producer) else 0.0
        if self._closed:
            raise ChannelClosed
        return waited

    def _add(self, records: list[Any], producer: Hashable) -> None:
        if self._refusal is not None and records:
            raise self._refusal
        held = self._held.get(producer) if self._held else None
        if held is None:
            self._append(records)
        else:
            held.sent.append(records)
            held.records += len(records)

    def _made_room(self) -> None:
        """Let producers look again whether there is room; the lock is held."""
        self._not_full.notify_all()

    def _await_room(self, producer: Hashable) -> float:
        start = self._clock()
        while self._is_full(producer) and not self._closed:
            self._not_full.wait()
        return self._clock() - start

    def _append(self, records: list[Any]) -> None:
        self._lists.append(records)
        self._queued += len(records)
        self._wake(len(records))

    def _is_full(self, producer: Hashable) -> bool:
        """Say whether a producer waits; one that is held must not stop those it is held for."""
        if self._held and producer in self._held:
            return self._held[producer].records >= self._capacity
        return self._queued >= self._capacity

    def _arrive(self, item: ControlItem, producer: Hashable) -> None:
        if self._alignment is None:
            self._alignment = Alignment(self._producers)
        if isinstance(item, Barrier):
            self._held[producer] = _Held()
        self._go_on(self._alignment.arrive(producer, item))

    def _finish(self, producer: Hashable) -> None:
        self._producers -= 1
        if self._alignment is not None:
            self._go_on(self._alignment.finish(producer))

    def _go_on(self, items: list[ControlItem]) -> None:
        self._append_items(items)
        if any(isinstance(item, Barrier) for item in items):
            self._release_held()

    def _release_held(self) -> None:
        """Let what waited behind a barrier follow it."""
        held, self._held = self._held, {}
        for producer, waiting in held.items():
            for sent in waiting.sent:
                if sent is None:
                    self._finish(producer)
                elif isinstance(sent, ControlItem):
                    self._arrive(sent, producer)
                else:
                    self._append(sent)
        self._made_room()

    def _append_items(self, items: list[ControlItem]) -> None:
        if items:
            # What other producers have left in open batches came before, for all anybody knows.
            self._collect_open_batches()
            self._lists.extend(items)
            self._queued += len(items)
            self._wake(len(items))

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._sleepers))):
            self._sleepers.popleft()()

    def _forget(self, sleeper: Callable[[], None]) -> None:
        if sleeper in self._sleepers:
            self._sleepers.remove(sleeper)

    def _await_records(self, timeout: float | None, consumer: int) -> bool:
        """Wait for the first record; say whether there is one."""
        # A condition of its own for each sleeper: those woken leave `_sleepers` at once, so that
        # `hungry` says whether one more record is wanted.
        bed = threading.Condition(self._lock)
        while not self._has_records(bed.notify, consumer):
            woken = bed.wait(timeout)
            self._forget(bed.notify)
            if not woken:
                return self._has_records(None, consumer)
        return True

    def _has_records(self, sleeper: Callable[[], None] | None, consumer: int) -> bool:
        """Say whether there are records; if not, leave ``sleeper`` to be called."""
        if self._closed:
            raise ChannelClosed
        if self._queued or self._mail[consumer]:
            return True
        # Counted as a sleeper before looking into the open batches: a producer appends first and
        # looks at `hungry` then, so one of the two always sees the other.
        if sleeper is not None:
            self._sleepers.append(sleeper)
        ended = self._producers == 0
        self._collect_open_batches()
        if sleeper is not None and (self._queued or ended):
            self._sleepers.remove(sleeper)
        if ended and not self._queued:
            raise EndOfStream
        return self._queued > 0

    def _collect_open_batches(self) -> None:
        for batch, producer in self._open_batches:
            if self._held and producer in self._held:
                continue
            records = _drain(batch)
            if records:
                self._lists.append(records)
                self._queued += len(records)

    def _pop_share(self, limit: int, consumer: int) -> list[Any] | ControlItem:
        if self._mail[consumer]:
            return self._mail[consumer].popleft()
        share = -(-self._queued // self._consumers)
        first = self._lists.popleft()
        taken = (
            self._distribute(first, consumer)
            if isinstance(first, ControlItem)
            else self._pop(first, min(limit, share))
        )
        if self._queued <= self._capacity // 2:
            self._made_room()
        return taken

    def _distribute(self, item: ControlItem, consumer: int) -> ControlItem:
        """Return the item at the head to one consumer and leave it to the others."""
        self._queued -= 1
        for number, mail in enumerate(self._mail):
            if number != consumer:
                mail.append(item)
        self._wake(len(self._sleepers))
        return item

    def _pop(self, records: list[Any], limit: int) -> list[Any]:
        # A list is shared when several stages read the same stream: it is never changed here.
        if len(records) < limit and self._lists:
            records = records.copy()
            while len(records) < limit and self._lists:
                following = self._lists[0]
                if isinstance(following, ControlItem):
                    break
                records += following
                self._lists.popleft()
        if len(records) > limit:
            self._lists.appendleft(records[limit:])
            records = records[:limit]
        self._queued -= len(records)
        return records


def _drain(batch: deque[Any]) -> list[Any]:
    return [batch.popleft() for _ in range(len(batch))]
