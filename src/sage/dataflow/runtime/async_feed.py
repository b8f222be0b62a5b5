"""Feeds a stage that begins with an async operator, on an event loop in the replica's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from sage.dataflow.asynchronous import InFlight
from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.checkpoint.operator_state import InFlightRecords
from sage.dataflow.control import Barrier, ControlItem
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.output import Output
from sage.dataflow.stage import StageReplica


class AsyncFeed:
    """Keeps as many records in flight as the operator allows.

    Args:
        replica: a stage whose first operator is a coroutine function.
        channel: where its records come from.
        output: where what it emits goes.
        consumer: the replica's number among those that take from the channel.
        clock: seconds, that timers go by.
        patience: returns the seconds to wait until a timer of the replica; None for none.
        save: saves the replica's state at a barrier, given what is in flight.
        in_flight: what to begin with: a checkpoint says that it was in flight.
        machine_clock: seconds, for how long it waited.
    """

    def __init__(
        self,
        replica: StageReplica,
        channel: Channel,
        output: Output,
        *,
        consumer: int,
        clock: Callable[[], float],
        patience: Callable[[], float | None],
        save: Callable[[Barrier, InFlightRecords], None],
        in_flight: Sequence[Any] = (),
        machine_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._replica = replica
        self._clock = clock
        self._machine_clock = machine_clock
        self._patience = patience
        self._consumer = consumer
        self._channel = channel
        self._output = output
        self._save = save
        self._restored = in_flight
        # A barrier that was taken from the channel and is to overtake what is in flight.
        self._barrier: Barrier | None = None
        # Whether one waits behind the records in flight, for an operator that is to see no record
        # behind it before it has saved its state.
        self._held_up = False

    async def run(self) -> None:
        """Run until the input has ended and everything is emitted.

        Raises:
            OperatorError: an operator raised.
            ChannelClosed: the job was stopped.
        """
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        in_flight = InFlight(self._replica.operators[0], changed.set)

        def ready() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._channel.on_close(ready)
        in_flight.resume(self._restored)
        try:
            while True:
                changed.clear()
                await self._emit(in_flight)
                if self._barrier is not None:
                    if await self._checkpoint(in_flight, self._barrier):
                        return
                    continue
                await self._wake()
                if not self._take(in_flight, ready) and in_flight.idle:
                    return
                if self._barrier is None:
                    await self._wait(changed, in_flight)
        finally:
            self._channel.off_close(ready)
            self._channel.pass_on(ready)
            await in_flight.cancel()

    def _take(self, in_flight: InFlight, ready: Callable[[], None]) -> bool:
        """Begin on what there is room for; say whether there may be more."""
        if self._channel.closed:
            raise ChannelClosed
        try:
            while in_flight.room > 0 and not self._held_up:
                records = self._channel.take_now(in_flight.room, ready, self._consumer)
                if isinstance(records, Barrier):
                    self._take_barrier(in_flight, records)
                    return True
                if isinstance(records, ControlItem):
                    in_flight.control(records)
                elif records:
                    in_flight.begin(records)
                else:
                    return True
        except EndOfStream:
            return False
        self._channel.pass_on(ready)
        return True

    def _take_barrier(self, in_flight: InFlight, barrier: Barrier) -> None:
        if self._replica.operators[0].holds_back:
            self._held_up = True
            in_flight.control(barrier)
        else:
            self._barrier = barrier

    async def _emit(self, in_flight: InFlight) -> None:
        """Emit what is done, and the control items before which everything is."""
        while True:
            try:
                emitted = self._replica.after_head(in_flight.collect())
            except RecordFailedError as failure:
                await asyncio.to_thread(self._output.put, failure.done)
                raise
            item = in_flight.passed()
            if isinstance(item, Barrier):
                await self._put(emitted)
                self._barrier = item
                return
            if item is not None:
                emitted = emitted + self._replica.act(item)
            await self._put(emitted)
            await self._send_control()
            if item is None:
                return
            if self._replica.forwards(item):
                self._output.control(item)

    async def _checkpoint(self, in_flight: InFlight, barrier: Barrier) -> bool:
        """Save the state at a barrier; say whether it is the job's last."""
        self._barrier, self._held_up = None, False
        head = self._replica.operators[0]
        if head.holds_back:
            await self._put(self._replica.after_head(await head.settled()))
        self._save(barrier, in_flight.unfinished())
        return barrier.last

    async def _wait(self, changed: asyncio.Event, in_flight: InFlight) -> None:
        """Wait for a change, or for a timer of the operators behind the first."""
        idle_since = self._machine_clock() if in_flight.idle else None
        try:
            async with asyncio.timeout(self._patience()):
                await changed.wait()
        except TimeoutError:
            return
        finally:
            if idle_since is not None:
                waited = self._machine_clock() - idle_since
                self._replica.operators[0].traffic.waited += waited

    async def _wake(self) -> None:
        due = self._replica.next_timer()
        if due is not None and due <= self._clock():
            await self._put(self._replica.fire(self._clock()))
            await self._send_control()

    async def _send_control(self) -> None:
        if self._replica.sends_control:
            emitted, items = self._replica.originated()
            await self._put(emitted)
            for item in items:
                self._output.control(item)

    async def _put(self, emitted: list[Any]) -> None:
        if self._output.full:
            # Waiting for room must not keep the records in flight from going on.
            await asyncio.to_thread(self._output.put, emitted)
        else:
            self._output.put(emitted)
