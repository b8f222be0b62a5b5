"""What other actors' records come into: a channel that is filled from an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.channel import Channel, ChannelClosed
from sage.dataflow.control import ControlItem
from sage.dataflow.runtime.ray.wire import load

# A replica that shares its stage's records with others holds so many batches ahead, and no more
# than it does in so many seconds: enough to bridge the way of the next one, and not so many that
# it works on while the others have nothing.
AHEAD = 4
AHEAD_SECONDS = 0.02

Sent = list[Any] | ControlItem | None


class Inbox(Channel):
    """The channel before one replica, whose producers are other actors.

    Args:
        capacity: from how many waiting records on producers stop.
        producers: how many there are.
        paced: hold only a few batches, of the size that the consumer takes.
        clock: seconds.
    """

    def __init__(
        self,
        capacity: int,
        producers: int,
        *,
        paced: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(AHEAD if paced else capacity, producers, clock=clock)
        self._most = capacity
        self._paced = paced
        self._taken_at: float | None = None
        self._waiting: list[Callable[[], None]] = []

    def add(self, records: list[Any], producer: Hashable) -> None:
        """Append a list, never waiting.

        Raises:
            ChannelClosed: the job was stopped.
            DataflowError: nobody takes records any more.
        """
        with self._lock:
            self._add(records, producer)
            if self._closed:
                raise ChannelClosed

    def room(self, producer: Hashable, ready: Callable[[], None]) -> int:
        """Return how many more records are welcome; never more than a whole capacity.

        Args:
            producer: who asks.
            ready: called once, from another thread, when it is worth while to ask again; only when
                this call returned 0.
        """
        with self._lock:
            if self._closed:
                raise ChannelClosed
            if self._is_full(producer):
                self._waiting.append(ready)
                return 0
            return max(self._capacity - self._queued, 1) if self._paced else self._capacity

    def take(
        self, limit: int, timeout: float | None = None, consumer: int = 0
    ) -> list[Any] | ControlItem:
        """Return up to ``limit`` records, as any channel does."""
        self._pace(limit * self._ahead())
        taken = super().take(limit, timeout, consumer)
        self._taken_at = self._clock() if taken else None
        return taken

    def take_now(
        self, limit: int, ready: Callable[[], None], consumer: int = 0
    ) -> list[Any] | ControlItem:
        """Return up to ``limit`` records without waiting, as any channel does."""
        # Of an async operator: what it has room for at first is what it has in flight at most.
        self._pace(max(limit, self._capacity))
        return super().take_now(limit, ready, consumer)

    def _ahead(self) -> int:
        """Return how many batches to hold, by the time that the last one took."""
        if self._taken_at is None:
            return AHEAD
        took = max(self._clock() - self._taken_at, 1e-9)
        return max(1, min(int(AHEAD_SECONDS / took), AHEAD))

    def _pace(self, capacity: int) -> None:
        if self._paced:
            self._capacity = min(capacity, self._most)

    def _made_room(self) -> None:
        super()._made_room()
        waiting, self._waiting = self._waiting, []
        for ready in waiting:
            ready()


@dataclass(slots=True)
class _Seat:
    """One producer: Ray may bring what it sends in another order.

    Attributes:
        next: number of what it is to go in next.
        early: what came before its turn.
    """

    next: int = 0
    early: dict[int, Sent] = field(default_factory=dict)


class Door:
    """Lets in what producers send, each one's in its order; belongs to one event loop.

    Args:
        inbox: what it goes into.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._seats: dict[int, _Seat] = {}
        self.bytes_in = 0

    async def enter(self, producer: int, number: int, payload: bytes) -> int:
        """Take a batch, and answer when there is room for the next.

        Args:
            producer: who sends it.
            number: how many it has sent before.
            payload: pickled: records, a control item, or None for its end.

        Returns:
            how many more records are welcome.

        Raises:
            ChannelClosed: the job was stopped.
            DataflowError: nobody takes records any more.
        """
        seat = self._seats.setdefault(producer, _Seat())
        seat.early[number] = load(payload)
        self.bytes_in += len(payload)
        while seat.next in seat.early:
            self._pass(producer, seat.early.pop(seat.next))
            seat.next += 1
        return await self._room(producer)

    def _pass(self, producer: int, sent: Sent) -> None:
        if sent is None:
            self._inbox.finish(producer)
        elif isinstance(sent, ControlItem):
            self._inbox.control(sent, producer)
        else:
            self._inbox.add(sent, producer)

    async def _room(self, producer: int) -> int:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def ready() -> None:
            loop.call_soon_threadsafe(changed.set)

        while not (room := self._inbox.room(producer, ready)):
            await changed.wait()
            changed.clear()
        return room
