"""Every stage replica in a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.control import ControlItem, Probe
from sage.dataflow.feedback import LoopWatch
from sage.dataflow.guard import JobServices
from sage.dataflow.interrupts import interrupts_deferred
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.output import Output
from sage.dataflow.pacing import Pacer, idle_wait
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.runtime.async_feed import AsyncFeed
from sage.dataflow.stage import StageReplica

SLICE = 0.1


class ThreadRuntime:
    """Runs a plan on threads.

    Args:
        plan: what to run.
        replicas: every stage's replicas.
        config: sizes of batches and channels.
        services: of the job.
        clock: seconds.
    """

    def __init__(
        self,
        plan: Plan,
        replicas: Sequence[Sequence[StageReplica]],
        config: EnvironmentConfig,
        services: JobServices,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._config = config
        self._services = services
        self._clock = clock
        self._stopping = False
        self._paused = False
        self._plan = plan
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._channels = {
            stage.id: make_channels(plan, stage, config.channel_capacity)
            for stage in plan.stages
            if stage.inputs
        }
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(replica, index),
                name=f"{replica.stage.name}[{index}]",
                # A user's operator that never returns must not keep the interpreter from ending.
                daemon=True,
            )
            for stage in replicas
            for index, replica in enumerate(stage)
        ]
        self._running = len(self._threads)

    @property
    def error(self) -> BaseException | None:
        """What stopped the job, if anything did."""
        return self._error

    def start(self) -> None:
        """Start all threads.

        Raises:
            RuntimeError: the system has no more threads; those started end by `cancel`.
        """
        try:
            with interrupts_deferred():
                for thread in self._threads:
                    thread.start()
        except RuntimeError:
            self._forget_unstarted()
            raise

    def _forget_unstarted(self) -> None:
        """Leave out the threads that did not start, so that `wait` ends."""
        started = [thread for thread in self._threads if thread.ident is not None]
        with self._lock:
            self._running -= len(self._threads) - len(started)
            self._threads = started
            if self._running == 0:
                self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; say whether it has come, which leaves no thread behind."""
        # In slices: a signal that comes just before the main thread blocks on a lock does not end
        # that wait, so Ctrl-C would be noticed only with the next one.
        ends = None if timeout is None else self._clock() + timeout
        while not self._done.wait(SLICE if ends is None else min(SLICE, ends - self._clock())):
            if ends is not None and self._clock() >= ends:
                return False
        for thread in self._threads:
            thread.join()
        return True

    def stop(self) -> None:
        """Let the sources end; what they have given flows through."""
        self._stopping = True

    def cancel(self) -> None:
        """Stop every replica after the batch it works on."""
        self._stopping = True
        self._services.cancelled.set()
        for channels in self._channels.values():
            for channel in channels:
                channel.close()

    @property
    def ended(self) -> bool:
        """Whether every thread is done."""
        return self._done.is_set()

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on; what they have given flows through."""
        self._paused = paused

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator, by its id in the graph."""
        return {
            self._plan.stages[stage].nodes[0].id: sum(
                channel.statistics().queued for channel in channels
            )
            for stage, channels in self._channels.items()
        }

    def fail(self, error: BaseException) -> None:
        """End the job with an error, unless one has ended it already."""
        with self._lock:
            self._error = self._error or error
        self.cancel()

    def _run(self, replica: StageReplica, index: int) -> None:
        targets = [self._channels[stage] for stage in replica.stage.outputs]
        last = replica.operators[-1]
        output = Output(last.name, targets, self._config.batch_size, last.flow)
        try:
            replica.open()
            self._feed(replica, index, output)
            output.put(replica.finish())
        except ChannelClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an operator fails the job too
            self.fail(error)
        finally:
            self._close(replica)
            output.finish()
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._done.set()

    def _close(self, replica: StageReplica) -> None:
        try:
            replica.close()
        except BaseException as error:  # noqa: BLE001 - as above
            self.fail(error)

    def _feed(self, replica: StageReplica, index: int, output: Output) -> None:
        if replica.source is None:
            channels = self._channels[replica.stage.id]
            channel = channels[index % len(channels)]
            if replica.stage.loop:
                self._feed_loop(replica, channel, output)
            elif replica.is_async:
                feed = AsyncFeed(
                    replica,
                    channel,
                    output,
                    consumer=index // len(channels),
                    clock=self._services.clock,
                    patience=self._patience,
                )
                replica.run(feed.run())
            else:
                self._feed_from_channel(replica, channel, output, index // len(channels))
        elif replica.source.eager:
            self._feed_from_collection(replica, output)
        else:
            self._feed_from_pulls(replica, output)

    def _feed_from_channel(
        self, replica: StageReplica, channel: Channel, output: Output, consumer: int
    ) -> None:
        pacer = Pacer(self._config.batch_size)
        while True:
            try:
                records = self._take(replica, channel, pacer.limit, consumer)
            except EndOfStream:
                return
            if isinstance(records, ControlItem):
                self._control(replica, records, output)
            elif records:
                self._process(replica, records, output, pacer)
            self._wake(replica, output)

    def _feed_loop(self, replica: StageReplica, channel: Channel, output: Output) -> None:
        """Pass on what comes back in a loop until the loop is empty."""
        pacer = Pacer(self._config.batch_size)
        watch = LoopWatch(replica.stage)
        self._control(replica, watch.probe(), output)
        while True:
            records = self._take(replica, channel, pacer.limit)
            if isinstance(records, Probe):
                if watch.empty:
                    channel.refuse(watch.refusal())
                    return
                self._control(replica, watch.probe(), output)
            elif isinstance(records, ControlItem):
                self._control(replica, records, output)
            elif records:
                watch.came()
                self._process(replica, records, output, pacer)
            self._wake(replica, output)

    def _take(
        self, replica: StageReplica, channel: Channel, limit: int, consumer: int = 0
    ) -> list[Any] | ControlItem:
        start = self._clock()
        try:
            return channel.take(limit, self._patience(replica), consumer)
        finally:
            replica.operators[0].flow.waited += self._clock() - start

    def _hold(self) -> None:
        """Wait while the sources are paused."""
        while self._paused and not self._stopping:
            time.sleep(SLICE)

    def _patience(self, replica: StageReplica) -> float | None:
        """Return the seconds to wait for records; None for as long as it takes."""
        due = replica.next_timer()
        if due is None:
            return None
        patience = max(due - self._services.clock(), 0.0)
        # A clock of the user's own may be moved while we wait by the machine's.
        return min(patience, SLICE) if self._services.injected else patience

    def _feed_from_collection(self, replica: StageReplica, output: Output) -> None:
        assert replica.source is not None
        pacer = Pacer(self._config.batch_size)
        while not self._stopping:
            if self._paused:
                self._hold()
            records = replica.source.read(pacer.limit)
            if not records:
                return
            self._process(replica, records, output, pacer)
            self._wake(replica, output)

    def _feed_from_pulls(self, replica: StageReplica, output: Output) -> None:
        assert replica.source is not None
        idle_since: float | None = None
        for record in replica.source.pulls():
            if record is not None:
                output.offer(record)
                idle_since = None
            else:
                idle_since = idle_since or self._clock()
                pause = idle_wait(self._clock() - idle_since)
                time.sleep(pause)
                replica.operators[0].flow.waited += pause
            if self._paused:
                self._hold()
            if self._stopping:
                return

    def _wake(self, replica: StageReplica, output: Output) -> None:
        due = replica.next_timer()
        if due is not None and due <= self._services.clock():
            output.put(replica.fire(self._services.clock()))
            if replica.sends_control:
                self._send_control(replica, output)

    def _control(self, replica: StageReplica, item: ControlItem, output: Output) -> None:
        output.put(replica.act(item))
        if replica.forwards(item):
            output.control(item)
        if replica.sends_control:
            self._send_control(replica, output)

    def _send_control(self, replica: StageReplica, output: Output) -> None:
        emitted, items = replica.originated()
        output.put(emitted)
        for item in items:
            output.control(item)

    def _process(
        self, replica: StageReplica, records: Sequence[Any], output: Output, pacer: Pacer
    ) -> None:
        flow = replica.operators[0].flow
        flow.in_flight = len(records)
        start = self._clock()
        try:
            emitted = replica.process(records)
        except RecordFailedError as failure:
            output.put(failure.done)
            raise
        finally:
            flow.in_flight = 0
        pacer.worked(len(records), self._clock() - start)
        output.put(emitted)
        if replica.sends_control:
            self._send_control(replica, output)


def make_channels(plan: Plan, stage: Stage, capacity: int) -> list[Channel]:
    """Make the channels that a stage reads: one for all replicas, or one each for a keyed stage."""
    if stage.loop:
        # A full channel here would stop the loop, which alone can empty it.
        capacity = sys.maxsize
    producers = sum(plan.stages[input_].parallelism for input_ in stage.inputs)
    if stage.keyed:
        return [Channel(capacity, producers) for _ in range(stage.parallelism)]
    return [Channel(capacity, producers, consumers=stage.parallelism)]
