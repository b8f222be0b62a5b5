"""Every stage replica in a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sage.dataflow.channel import Channel
from sage.dataflow.checkpoint.checkpointer import Checkpointer
from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.guard import JobServices
from sage.dataflow.interrupts import interrupts_deferred
from sage.dataflow.output import Output
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.runtime.feed import SLICE, Feed, Flow
from sage.dataflow.runtime.replicas import Replicas
from sage.dataflow.stage import StageReplica
from sage.errors import DataflowError

# Seconds for a thread to notice that its worker process was killed.
LAST_WAIT = 1.0


class ThreadRuntime(Replicas):
    """Runs a plan on threads.

    Args:
        plan: what to run.
        replicas: every stage's replicas.
        config: sizes of batches and channels.
        services: of the job.
        checkpointer: takes checkpoints; None for none.
        resumption: what to go on from; None to begin anew.
        on_end: called when the job has ended, whoever waits for it.
        clock: seconds.
    """

    def __init__(
        self,
        plan: Plan,
        replicas: Sequence[Sequence[StageReplica]],
        config: EnvironmentConfig,
        services: JobServices,
        *,
        checkpointer: Checkpointer | None = None,
        resumption: Resumption | None = None,
        on_end: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._flow = Flow(config, services, clock, checkpointer, resumption)
        self._checkpointer = checkpointer
        super().__init__(replicas)
        self._on_end = on_end
        self._abandoned = False
        self._over = False
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
    def blocking(self) -> bool:
        """Whether `start` runs to the end: it does not."""
        return False

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
                if self._checkpointer is not None:
                    self._checkpointer.start()
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
            none = self._running == 0
        if none:
            self._end()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; say whether it has come, which leaves no thread behind."""
        # In slices: a signal that comes just before the main thread blocks on a lock does not end
        # that wait, so Ctrl-C would be noticed only with the next one.
        ends = None if timeout is None else self._flow.clock() + timeout
        while not self._done.wait(SLICE if ends is None else min(SLICE, ends - self._flow.clock())):
            if ends is not None and self._flow.clock() >= ends:
                return False
        if not self._abandoned:
            for thread in self._threads:
                thread.join()
        return True

    def stop(self) -> None:
        """Let the sources end, with a last checkpoint if there are any; what they gave flows on."""
        if self._checkpointer is not None:
            self._checkpointer.stop()
        else:
            self._flow.stopping = True

    def cancel(self) -> None:
        """Stop every replica after the batch it works on."""
        self._flow.stopping = True
        self._flow.services.cancelled.set()
        for channels in self._channels.values():
            for channel in channels:
                channel.close()

    def signalled(self) -> None:
        """Do nothing: whoever waits calls `stop`."""

    def interrupt(self) -> None:
        """Do nothing: the job does not run in the caller."""

    def abandon(self) -> tuple[str, ...]:
        """Kill the worker processes; return the names of the threads that have not returned."""
        self._abandoned = True
        for stage in self._replicas:
            for replica in stage:
                replica.kill()
        self._done.wait(LAST_WAIT)
        self._end()
        return tuple(thread.name for thread in self._threads if thread.is_alive())

    @property
    def ended(self) -> bool:
        """Whether every thread is done."""
        return self._done.is_set()

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on; what they have given flows through."""
        self._flow.paused = paused

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
            if not self._abandoned:
                self._error = self._error or error
        self.cancel()

    def _run(self, replica: StageReplica, index: int) -> None:
        feed = self._feed(replica, index)
        try:
            feed.run_until_closed(self.fail)
        finally:
            self._close(replica)
            feed.output.finish()
            self._ended()

    def _feed(self, replica: StageReplica, index: int) -> Feed:
        targets = [self._target(stage, index) for stage in replica.stage.outputs]
        last = replica.operators[-1]
        output = Output(last.name, targets, self._flow.config.batch_size, last.traffic)
        if replica.source is not None:
            return Feed(replica, index, self._flow, output)
        channels = self._channels[replica.stage.id]
        return Feed(
            replica,
            index,
            self._flow,
            output,
            channel=channels[index % len(channels)],
            consumer=index // len(channels),
        )

    def _target(self, stage: int, index: int) -> list[Channel]:
        """Return the channels of a stage that a replica of an input of it puts records in."""
        channels = self._channels[stage]
        return [channels[index]] if self._plan.stages[stage].paired else channels

    def _ended(self) -> None:
        """Take note of the end of a thread; the last one ends the job."""
        with self._lock:
            self._running -= 1
            if self._running:
                return
        self._end()

    def _end(self) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        try:
            self._flow.services.registered.close()
        except DataflowError as error:
            self._error = self._error or error
        if self._checkpointer is not None:
            finished = self._error is None and not self._flow.services.cancelled.is_set()
            failure = self._checkpointer.close(finished=finished)
            self._error = self._error or failure
        if self._on_end is not None:
            self._on_end()
        self._done.set()

    def _close(self, replica: StageReplica) -> None:
        try:
            replica.close()
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an operator fails the job too
            self.fail(error)


def make_channels(plan: Plan, stage: Stage, capacity: int) -> list[Channel]:
    """Make the channels that a stage reads: one for all replicas, or one for each."""
    if stage.loop:
        # A full channel here would stop the loop, which alone can empty it.
        capacity = sys.maxsize
    producers = sum(plan.stages[input_].parallelism for input_ in stage.inputs)
    if stage.paired:
        return [Channel(capacity) for _ in range(stage.parallelism)]
    if stage.keyed:
        return [Channel(capacity, producers) for _ in range(stage.parallelism)]
    return [Channel(capacity, producers, consumers=stage.parallelism)]
