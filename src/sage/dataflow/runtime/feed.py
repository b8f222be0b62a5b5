"""One stage replica at work in its thread: takes records from where they come, gives what it makes.

What all feeds of a job share is their `Flow`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.checkpoint.gathering import Part
from sage.dataflow.checkpoint.operator_state import NONE_IN_FLIGHT, InFlightRecords
from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.checkpoint.saving import Saving
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.control import Barrier, ControlItem, Probe
from sage.dataflow.feedback import LoopWatch
from sage.dataflow.guard import JobServices
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.output import Output
from sage.dataflow.pacing import Pacer, idle_wait
from sage.dataflow.runtime.async_feed import AsyncFeed
from sage.dataflow.stage import StageReplica, States

SLICE = 0.1


@dataclass(slots=True)
class Flow:
    """What the feeds of a job share.

    Attributes:
        config: sizes of batches and channels.
        services: of the job.
        clock: seconds.
        checkpointer: takes the replicas' states; None where there are no checkpoints.
        resumption: what the job goes on from; None where it begins anew.
        stopping: whether sources are to end.
        paused: whether sources are to wait.
    """

    config: EnvironmentConfig
    services: JobServices
    clock: Callable[[], float]
    checkpointer: Saving | None = None
    resumption: Resumption | None = None
    stopping: bool = False
    paused: bool = False

    @property
    def barrier(self) -> Barrier | None:
        """The checkpoint's barrier that every source is to have sent."""
        return None if self.checkpointer is None else self.checkpointer.barrier


@dataclass(slots=True)
class Feed:
    """Runs one replica.

    Attributes:
        replica: the replica.
        index: its number.
        flow: of the job.
        output: where what it emits goes.
        channel: where its records come from; None for a source.
        consumer: its number among those that take from the channel.
    """

    replica: StageReplica
    index: int
    flow: Flow
    output: Output
    channel: Channel | None = None
    consumer: int = 0
    _pacer: Pacer = field(init=False)
    _barrier: Barrier | None = None
    # What came back in a loop since its barrier went out, until that has come back too.
    _logged: list[Any] | None = None
    _loop_states: States = field(default_factory=dict)
    _in_flight: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pacer = Pacer(self.flow.config.batch_size)

    def run_until_closed(self, failed: Callable[[BaseException], None]) -> None:
        """Run, taking a stopped job for the end of the input.

        Args:
            failed: called with whatever ends it otherwise.
        """
        try:
            self.run()
        except ChannelClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an operator fails the job too
            failed(error)

    def run(self) -> None:
        """Run from the first record to the end of the input, or to the last checkpoint.

        Raises:
            OperatorError: an operator raised.
            CheckpointError: what the job resumes from does not fit.
            ChannelClosed: the job was stopped.
        """
        resumption, stage = self.flow.resumption, self.replica.stage
        if resumption is not None and resumption.finished(stage, self.index):
            self.replica.take_counts(resumption.states(stage))
            self._end()
            return
        self.replica.open()
        if resumption is not None:
            self._in_flight = self.replica.restore(resumption.states(stage))
            self._send_control()
        self._feed()
        if not self._stopped:
            self.output.put(self.replica.finish())
            self._end()

    @property
    def _stopped(self) -> bool:
        """Whether the job's last checkpoint has been taken of it."""
        return self._barrier is not None and self._barrier.last and self._logged is None

    def _end(self) -> None:
        if self.flow.checkpointer is not None:
            self.flow.checkpointer.end(self._part, self.replica.ended())

    @property
    def _part(self) -> Part:
        return Part(self.replica.stage.id, self.index)

    def _feed(self) -> None:
        source = self.replica.source
        if source is not None:
            if source.eager:
                self._feed_from_collection()
            else:
                self._feed_from_pulls()
        elif self.replica.stage.loop:
            self._feed_loop()
        elif self.replica.is_async:
            self._feed_async()
        else:
            self._feed_from_channel()

    def _feed_from_channel(self) -> None:
        assert self.channel is not None
        while not self._stopped:
            try:
                records = self._take(self.patience())
            except EndOfStream:
                return
            if isinstance(records, ControlItem):
                self._control(records)
            elif records:
                self._process(records)
            self._wake()

    def _feed_async(self) -> None:
        assert self.channel is not None
        feed = AsyncFeed(
            self.replica,
            self.channel,
            self.output,
            consumer=self.consumer,
            clock=self.flow.services.clock,
            patience=self.patience,
            save=self._save_async,
            in_flight=self._in_flight,
        )
        self.replica.run(feed.run())

    def _feed_loop(self) -> None:
        """Pass on what comes back in a loop until the loop is empty."""
        assert self.channel is not None
        watch = LoopWatch(self.replica.stage)
        if self._in_flight:
            self._process(self._in_flight)
        self._control(watch.probe())
        while not self._stopped:
            self._begin_checkpoint_of_loop()
            records = self._take(self._loop_patience())
            if isinstance(records, Probe):
                if watch.empty:
                    self.channel.refuse(watch.refusal())
                    return
                self._control(watch.probe())
            elif isinstance(records, Barrier):
                self._end_checkpoint_of_loop(records)
            elif isinstance(records, ControlItem):
                self._control(records)
            elif records:
                watch.came()
                if self._logged is not None:
                    self._logged += records
                # After the job's last barrier nobody takes them any more.
                if not (self._barrier and self._barrier.last):
                    self._process(records)
            self._wake()

    def _take(self, patience: float | None) -> list[Any] | ControlItem:
        assert self.channel is not None
        start = self.flow.clock()
        try:
            return self.channel.take(self._pacer.limit, patience, self.consumer)
        finally:
            self.replica.operators[0].traffic.waited += self.flow.clock() - start

    def _hold(self) -> None:
        """Wait while the sources are paused; checkpoints are taken all the same."""
        while self.flow.paused and not self.flow.stopping and not self._checkpointed():
            time.sleep(SLICE)

    def _begin_checkpoint_of_loop(self) -> None:
        """Send a barrier round the loop; what comes back before it belongs to the checkpoint."""
        barrier = self.flow.barrier
        if barrier is not None and barrier is not self._barrier:
            emitted, self._loop_states = self.replica.checkpoint()
            self.output.put(emitted)
            self._barrier, self._logged = barrier, []
            self.output.control(barrier)

    def _end_checkpoint_of_loop(self, barrier: Barrier) -> None:
        in_flight, self._logged = self._logged or [], None
        self._save_states(barrier, self.replica.with_in_flight(self._loop_states, in_flight))

    def _loop_patience(self) -> float | None:
        patience = self.patience()
        if self.flow.checkpointer is None:
            return patience
        return SLICE if patience is None else min(patience, SLICE)

    def _feed_from_collection(self) -> None:
        source = self.replica.source
        assert source is not None
        while not self.flow.stopping:
            if self.flow.paused:
                self._hold()
            if self._checkpointed():
                return
            records = source.read(self._pacer.limit)
            if not records:
                return
            self._process(records)
            self._wake()

    def _feed_from_pulls(self) -> None:
        assert self.replica.source is not None
        flow, output, clock = self.flow, self.output, self.flow.clock
        checkpointer = flow.checkpointer
        idle_since: float | None = None
        for record in self.replica.source.pulls():
            if record is not None:
                output.offer(record)
                idle_since = None
            else:
                idle_since = idle_since or clock()
                pause = idle_wait(clock() - idle_since)
                time.sleep(pause)
                self.replica.operators[0].traffic.waited += pause
            if flow.paused:
                self._hold()
                if self._stopped:
                    return
            # Looked at here, once a record: a call would cost as much as all the rest.
            asked = checkpointer is not None and checkpointer.barrier is not self._barrier
            if flow.stopping or (asked and self._checkpointed()):
                return

    def _checkpointed(self) -> bool:
        """Send a new barrier, if there is one; say whether it is the job's last."""
        barrier = self.flow.barrier
        if barrier is not None and barrier is not self._barrier:
            self._save(barrier)
        return self._stopped

    def _save(
        self,
        barrier: Barrier,
        in_flight: InFlightRecords = NONE_IN_FLIGHT,
        *,
        settled: bool = False,
    ) -> None:
        """Save the replica's state and send the barrier on."""
        emitted, states = self.replica.checkpoint(in_flight, settled=settled)
        self.output.put(emitted)
        self._barrier = barrier
        self.output.control(barrier)
        self._save_states(barrier, states)

    def _save_async(self, barrier: Barrier, in_flight: InFlightRecords) -> None:
        self._save(barrier, in_flight, settled=True)

    def _save_states(self, barrier: Barrier, states: States) -> None:
        assert self.flow.checkpointer is not None
        self.flow.checkpointer.save(self._part, barrier, states)

    def patience(self) -> float | None:
        """Return the seconds to wait for records; None for as long as it takes."""
        due = self.replica.next_timer()
        if due is None:
            return None
        patience = max(due - self.flow.services.clock(), 0.0)
        # A clock of the user's own may be moved while we wait by the machine's.
        return min(patience, SLICE) if self.flow.services.injected else patience

    def _wake(self) -> None:
        now = self.flow.services.clock
        due = self.replica.next_timer()
        if due is not None and due <= now():
            self.output.put(self.replica.fire(now()))
            self._send_control()

    def _control(self, item: ControlItem) -> None:
        if isinstance(item, Barrier):
            self._save(item)
            return
        self.output.put(self.replica.act(item))
        if self.replica.forwards(item):
            self.output.control(item)
        self._send_control()

    def _send_control(self) -> None:
        if self.replica.sends_control:
            emitted, items = self.replica.originated()
            self.output.put(emitted)
            for item in items:
                self.output.control(item)

    def _process(self, records: Sequence[Any]) -> None:
        traffic = self.replica.operators[0].traffic
        traffic.in_flight = len(records)
        start = self.flow.clock()
        try:
            emitted = self.replica.process(records)
        except RecordFailedError as failure:
            self.output.put(failure.done)
            raise
        finally:
            traffic.in_flight = 0
        self._pacer.worked(len(records), self.flow.clock() - start)
        self.output.put(emitted)
        self._send_control()
