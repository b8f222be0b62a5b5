"""Feeds a stage that begins with an async operator, on an event loop in the replica's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sage.dataflow.asynchronous import InFlight
from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.output import Output
from sage.dataflow.stage import StageReplica


class AsyncFeed:
    """Keeps as many records in flight as the operator allows.

    Args:
        replica: a stage whose first operator is a coroutine function.
        channel: where its records come from.
        output: where what it emits goes.
    """

    def __init__(self, replica: StageReplica, channel: Channel, output: Output) -> None:
        self._replica = replica
        self._channel = channel
        self._output = output

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
        try:
            while True:
                changed.clear()
                await self._emit(in_flight)
                if not self._take(in_flight, ready) and in_flight.idle:
                    return
                await changed.wait()
        finally:
            self._channel.pass_on(ready)
            await in_flight.cancel()

    def _take(self, in_flight: InFlight, ready: Callable[[], None]) -> bool:
        """Begin on what there is room for; say whether there may be more."""
        if self._channel.closed:
            raise ChannelClosed
        try:
            while in_flight.room > 0:
                records = self._channel.take_now(in_flight.room, ready)
                if not records:
                    return True
                in_flight.begin(records)
        except EndOfStream:
            return False
        self._channel.pass_on(ready)
        return True

    async def _emit(self, in_flight: InFlight) -> None:
        try:
            emitted = self._replica.after_head(in_flight.collect())
        except RecordFailedError as failure:
            await asyncio.to_thread(self._output.put, failure.done)
            raise
        if self._output.full:
            # Waiting for room must not keep the records in flight from going on.
            await asyncio.to_thread(self._output.put, emitted)
        else:
            self._output.put(emitted)
