"""One replica of a stage at work in an actor's process: the same feed as on threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from sage.dataflow.build import build_replica
from sage.dataflow.channel import Channel
from sage.dataflow.control import Barrier
from sage.dataflow.dead_letters import DeadLetter, DeadLetters
from sage.dataflow.graph import Kind
from sage.dataflow.guard import JobServices
from sage.dataflow.output import Output
from sage.dataflow.plan import Stage
from sage.dataflow.resources import Share
from sage.dataflow.result import extent_of
from sage.dataflow.runtime.failure import failure_of, sendable, sendable_error
from sage.dataflow.runtime.feed import Feed, Flow
from sage.dataflow.runtime.ray.far_checkpoints import FarCheckpoints
from sage.dataflow.runtime.ray.far_list import FarList
from sage.dataflow.runtime.ray.inbox import Door, Inbox
from sage.dataflow.runtime.ray.link import Courier, Route
from sage.dataflow.runtime.ray.orders import Order, Report
from sage.dataflow.runtime.ray.outbox import Outbox
from sage.dataflow.runtime.ray.placement import share_of
from sage.dataflow.runtime.ray.wire import dump
from sage.dataflow.services import Services
from sage.dataflow.stage import StageReplica


class Station:
    """Runs a replica in a thread of its own.

    Args:
        order: what to run.
        outbox: what leads to the driver.
        devices: how many GPUs this process sees.

    Attributes:
        inbox: where its records come from.
        door: by which they come in.

    Raises:
        Exception: what the constructor of an operator raised.
    """

    def __init__(self, order: Order, outbox: Outbox, devices: int) -> None:
        self._order = order
        self._outbox = outbox
        self._services = JobServices(
            DeadLetters(self._letter), registered=Services(order.registrations)
        )
        self._replica = self._make_replica(devices)
        self._far = FarCheckpoints(outbox) if order.checkpointed else None
        self._flow = Flow(
            order.config, self._services, time.perf_counter, self._far, order.resumption
        )
        self.inbox = make_inbox(order.stage, order.config.channel_capacity, order.producers)
        self.door = Door(self.inbox)
        self._channels: list[list[Channel]] = []
        self._routes: Sequence[Route] = ()
        self._couriers: list[Courier] = []
        self._output: Output | None = None
        self._over = False

    def _make_replica(self, devices: int) -> StageReplica:
        order = self._order
        share = Share(share_of(order.stage, devices))
        replica = build_replica(
            order.stage, order.index, self._services, share, profile=order.profile, dump=dump
        )
        for operator in replica.operators:
            if isinstance(operator.target, FarList):
                operator.target.reach(self._outbox)
        return replica

    def begin(self, routes: Sequence[Route]) -> None:
        """Begin to run.

        Args:
            routes: to the stages that take its records.
        """
        config = self._order.config
        last = self._replica.operators[-1]
        self._routes = routes
        self._channels = [route.channels() for route in routes]
        self._output = Output(last.name, self._channels, config.batch_size, last.traffic)
        self._couriers = [
            Courier(
                last.name,
                route,
                channel,
                consumer,
                inbox,
                batch_size=config.batch_size,
                window=self._order.window,
                failed=self.fail,
            )
            for route, channels in zip(routes, self._channels, strict=True)
            for channel, inboxes in zip(channels, route.inboxes, strict=True)
            for consumer, inbox in enumerate(inboxes)
        ]
        if self._services.cancelled.is_set():
            self.cancel()
        for courier in self._couriers:
            courier.start()
        name = f"{self._order.stage.name}[{self._order.index}]"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Let the source end."""
        self._flow.stopping = True

    def pause(self, paused: bool) -> None:
        """Hold the source, or let it go on."""
        self._flow.paused = paused

    def cancel(self) -> None:
        """Stop after the batch at hand."""
        self._flow.stopping = True
        self._services.cancelled.set()
        self.inbox.close()
        for channels in self._channels:
            for channel in channels:
                channel.close()
        self._outbox.close()

    def fail(self, error: BaseException) -> None:
        """Tell the driver what ends the job, and stop."""
        self._outbox.failed(failure_of(error, dump))
        self.cancel()

    def barrier(self, barrier: Barrier) -> None:
        """Let the source, or the loop that begins here, send a barrier."""
        if self._far is not None:
            self._far.barrier = barrier

    def report(self) -> Report:
        """Return how it stands; on the event loop."""
        # Looked at first: what comes between the two is news of a replica that is not over yet.
        over = self._over
        first, last = self._replica.operators[0], self._replica.operators[-1]
        if self._order.producers:
            first.traffic.bytes_in = self.door.bytes_in
        if self._couriers:
            last.traffic.bytes_out = sum(courier.bytes_out for courier in self._couriers)
        return Report(
            meters=[operator.meter for operator in self._replica.operators],
            traffic=[operator.traffic for operator in self._replica.operators],
            metrics=[operator.context.metrics.values() for operator in self._replica.operators],
            queued=self.inbox.statistics().queued,
            leaving=self._leaving(),
            extent=extent_of(first) if first.kind is Kind.SOURCE else None,
            news=self._outbox.fetch(),
            over=over,
        )

    def _leaving(self) -> dict[int, int]:
        """Return how many records are on their way, by the stage that they go to."""
        leaving = {
            route.stage: sum(channel.statistics().queued for channel in channels)
            for route, channels in zip(self._routes, self._channels, strict=True)
        }
        for courier in self._couriers:
            leaving[courier.stage] += courier.under_way
        return leaving

    def _run(self) -> None:
        assert self._output is not None
        inbox = self.inbox if self._order.producers else None
        feed = Feed(self._replica, self._order.index, self._flow, self._output, channel=inbox)
        try:
            feed.run_until_closed(self.fail)
        finally:
            self._close()

    def _close(self) -> None:
        for close in (self._replica.close, self._services.registered.close):
            try:
                close()
            except BaseException as error:  # noqa: BLE001 - sys.exit() in an operator fails it too
                self.fail(error)
        assert self._output is not None
        self._output.finish()
        for courier in self._couriers:
            courier.join()
        self._over = True
        self._outbox.over()

    def _letter(self, letter: DeadLetter) -> None:
        error = sendable_error(letter.error, dump)
        assert isinstance(error, Exception)
        self._outbox.letter(replace(letter, record=sendable(letter.record, dump), error=error))


def make_inbox(stage: Stage, capacity: int, producers: int) -> Inbox:
    """Make the channel before one replica of a stage."""
    if stage.loop:
        # A full channel here would stop the loop, which alone can empty it.
        capacity = sys.maxsize
    shared = stage.parallelism > 1 and not (stage.keyed or stage.paired)
    return Inbox(capacity, producers, paced=shared)
