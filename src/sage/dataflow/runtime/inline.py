"""Everything in the thread that calls ``submit``: no queue, no other thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

from sage.dataflow.checkpoint.checkpointer import Checkpointer
from sage.dataflow.checkpoint.gathering import Part
from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.control import Alignment, Barrier, ControlItem, Probe
from sage.dataflow.feedback import LoopWatch
from sage.dataflow.guard import JobServices
from sage.dataflow.interrupts import Terminated
from sage.dataflow.loop import RecordFailedError
from sage.dataflow.output import split_by_key
from sage.dataflow.pacing import Pacer, idle_wait
from sage.dataflow.plan import Plan
from sage.dataflow.runtime.replicas import Replicas
from sage.dataflow.source import SourceReader
from sage.dataflow.stage import StageReplica, States
from sage.errors import DataflowError


class InlineRuntime(Replicas):
    """Runs a plan in the calling thread; what a stage emits goes straight into the next.

    Args:
        plan: what to run.
        replicas: every stage's replicas; batches go to them in turn.
        config: size of batches.
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
        self._plan = plan
        super().__init__(replicas)
        self._timed = [replica for stage in replicas for replica in stage if replica.has_timers]
        self._turns = [cycle(stage) for stage in replicas]
        self._config = config
        self._services = services
        self._clock = clock
        self._checkpointer = checkpointer
        self._resumption = resumption
        self._on_end = on_end
        # By stage: replicas that feed it and have not finished; what they send it as one.
        self._producers = {
            stage.id: sum(plan.stages[input_].parallelism for input_ in stage.inputs)
            for stage in plan.stages
        }
        self._alignments: dict[int, Alignment] = {}
        self._finished: set[StageReplica] = set()
        # By stage at which a loop begins: what came back. Not processed at once, or a loop would be
        # as deep a recursion as its records go round.
        self._refusals: dict[int, Exception] = {}
        self._came_back: dict[int, deque[list[Any]]] = {
            stage.id: deque() for stage in plan.stages if stage.loop
        }
        self._stopping = False
        self._running = False
        self._ended = False
        self._error: BaseException | None = None

    @property
    def blocking(self) -> bool:
        """Whether `start` runs to the end: it does."""
        return True

    @property
    def error(self) -> BaseException | None:
        """What stopped the job, if anything did."""
        return self._error

    def start(self) -> None:
        """Run to the end.

        Raises:
            KeyboardInterrupt: after every operator was closed.
            Terminated: likewise, after `interrupt`.
        """
        try:
            self._running = True
            self._run()
        except Exception as error:  # noqa: BLE001 - the handle raises it to whoever waits
            self._error = self._error or error
        except BaseException:
            # Ctrl-C: what was done is not all there was to do.
            self._services.cancelled.set()
            raise
        finally:
            self._running = False
            self._close()
            self._end()
            self._ended = True

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - it has ended already
        """Say that the job has ended."""
        return True

    def stop(self) -> None:
        """Let the sources end; called by an operator, for want of another thread."""
        self._stopping = True

    def cancel(self) -> None:
        """The same as `stop`: nothing is queued anywhere."""
        self._stopping = True
        self._services.cancelled.set()

    def signalled(self) -> None:
        """Let the sources end, from a signal handler."""
        self._stopping = True

    def interrupt(self) -> None:
        """Leave whatever runs, unless the operators are being closed already.

        Raises:
            Terminated: always then.
        """
        if self._running:
            raise Terminated

    def abandon(self) -> tuple[str, ...]:
        """Return nothing: a job that is over has left nothing behind."""
        return ()

    @property
    def ended(self) -> bool:
        """Whether every operator was closed."""
        return self._ended

    def pause(self, paused: bool) -> None:
        """Do nothing: no record waits anywhere for the sources to be held."""

    def queued(self) -> Mapping[int, int]:
        """Return how many records came back to an operator at which a loop begins, by its id."""
        return {
            self._plan.stages[stage].nodes[0].id: sum(map(len, tuple(lists)))
            for stage, lists in self._came_back.items()
        }

    def fail(self, error: BaseException) -> None:
        """End the job with an error, unless one has ended it already."""
        self._error = self._error or error
        self.cancel()

    def _run(self) -> None:
        in_flight = {replica: self._open(replica) for stage in self._replicas for replica in stage}
        feeds = {
            replica: self._feed(replica, replica.source)
            for stage in self._replicas
            for replica in stage
            if replica.source is not None
        }
        # What was further down came earlier, and all of it before the watermarks, which those
        # further up send again.
        for replica, records in reversed(in_flight.items()):
            self._begin_with(replica, records)
        for replica in in_flight:
            if replica not in self._finished:
                self._send_control(replica)
        self._drive({feed: feeds[feed] for feed in feeds if feed not in self._finished})
        if self._stopping and self._checkpointer is not None:
            self._checkpoint(last=True)
            return
        for replica in feeds:
            self._finish(replica)
        for loop in self._came_back:
            self._end_loop(self._replicas[loop][0])
        for stage in self._replicas:
            for replica in stage:
                self._finish(replica)

    def _open(self, replica: StageReplica) -> list[Any]:
        """Open a replica and let it go on from the checkpoint, if there is one.

        Returns:
            records that it was working on.
        """
        if self._resumption is None:
            replica.open()
            return []
        states = self._resumption.states(replica.stage)
        if self._resumption.finished(replica.stage, replica.index):
            replica.take_counts(states)
            self._finished.add(replica)
            self._end_part(replica)
            for stage in replica.stage.outputs:
                self._producers[stage] -= 1
            return []
        replica.open()
        return replica.restore(states)

    def _begin_with(self, replica: StageReplica, records: list[Any]) -> None:
        if replica.stage.loop:
            if records:
                self._came_back[replica.stage.id].append(records)
        elif records:
            self._process(replica, [each for each in records if not isinstance(each, ControlItem)])

    def _checkpoint(self, *, last: bool = False) -> None:
        assert self._checkpointer is not None
        self._checkpointer.take(self._send_barrier, last=last)

    def _send_barrier(self, barrier: Barrier) -> None:
        """Take a barrier through the job: nothing is on its way but what came back in loops."""
        loops: dict[StageReplica, States] = {}
        for stage in self._replicas:
            for replica in stage:
                if replica in self._finished:
                    continue
                if replica.stage.loop:
                    loops[replica] = self._pass_barrier(replica, barrier)
                elif replica.source is not None:
                    self._save(replica, barrier)
        # Only now has everything come back that was emitted before the barrier.
        for replica, states in loops.items():
            came_back = [each for sent in self._came_back[replica.stage.id] for each in sent]
            self._save_states(replica, barrier, replica.with_in_flight(states, came_back))

    def _save(self, replica: StageReplica, barrier: Barrier) -> None:
        self._save_states(replica, barrier, self._pass_barrier(replica, barrier))

    def _pass_barrier(self, replica: StageReplica, barrier: Barrier) -> States:
        emitted, states = replica.checkpoint()
        self._emit(replica, emitted)
        self._pass_on(replica, barrier)
        return states

    def _save_states(self, replica: StageReplica, barrier: Barrier, states: States) -> None:
        assert self._checkpointer is not None
        self._checkpointer.save(Part(replica.stage.id, replica.index), barrier, states)

    def _end_part(self, replica: StageReplica) -> None:
        if self._checkpointer is not None:
            part = Part(replica.stage.id, replica.index)
            self._checkpointer.end(part, replica.ended())

    def _end_loop(self, replica: StageReplica) -> None:
        """Let a loop go round until nothing is left in it."""
        watch = LoopWatch(replica.stage)
        came_back = self._came_back[replica.stage.id]
        while not self._services.cancelled.is_set():
            while came_back:
                self._turn(replica)
            self._control(replica, watch.probe())
            if not came_back:
                self._refusals[replica.stage.id] = watch.refusal()
                return

    def _turn(self, replica: StageReplica) -> None:
        self._wake_all()
        self._process(replica, self._came_back[replica.stage.id].popleft())

    def _finish(self, replica: StageReplica) -> None:
        """Flush a replica, and then those that no other one feeds."""
        if replica in self._finished:
            return
        self._finished.add(replica)
        self._emit(replica, replica.finish())
        self._end_part(replica)
        for stage in replica.stage.outputs:
            self._producers[stage] -= 1
            if stage in self._alignments:
                self._send_items(stage, self._alignments[stage].finish(replica))
            if self._producers[stage] == 0:
                for consumer in self._replicas[stage]:
                    self._finish(consumer)

    def _drive(self, feeds: dict[StageReplica, Iterator[bool]]) -> None:
        """Advance every source in turn until all have ended."""
        idle_since: float | None = None
        while feeds and not self._stopping:
            self._wake_all()
            if self._checkpointer is not None and self._checkpointer.due:
                self._checkpoint()
            for loop, came_back in self._came_back.items():
                if came_back:
                    self._turn(self._replicas[loop][0])
            # None: the source has ended; otherwise, whether it gave records.
            steps = {replica: next(feed, None) for replica, feed in feeds.items()}
            for replica, gave in steps.items():
                if gave is None:
                    del feeds[replica]
                    self._finish(replica)
            if any(steps.values()) or any(self._came_back.values()) or not feeds:
                idle_since = None
            else:
                idle_since = idle_since or self._clock()
                time.sleep(idle_wait(self._clock() - idle_since))

    def _wake_all(self) -> None:
        for replica in self._timed:
            due = replica.next_timer()
            if due is not None and due <= self._services.clock():
                self._emit(replica, replica.fire(self._services.clock()))
                self._send_control(replica)

    def _feed(self, replica: StageReplica, source: SourceReader) -> Iterator[bool]:
        """Move some records at each step; yield whether there were any."""
        if not source.eager:
            for record in source.pulls():
                if record is not None:
                    self._process(replica, [record])
                yield record is not None
            return
        pacer = Pacer(self._config.batch_size)
        # A batch is all that an async operator can have in flight here, so it gets whole ones.
        whole = any(stage.is_async for stages in self._replicas for stage in stages)
        while records := source.read(self._config.batch_size if whole else pacer.limit):
            start = self._clock()
            self._process(replica, records)
            pacer.worked(len(records), self._clock() - start)
            yield True

    def _process(self, replica: StageReplica, records: Sequence[Any]) -> None:
        try:
            emitted = replica.process(records)
        except RecordFailedError as failure:
            self._emit(replica, failure.done)
            raise
        self._emit(replica, emitted)
        self._send_control(replica)

    def _control(self, replica: StageReplica, item: ControlItem) -> None:
        if isinstance(item, Barrier):
            self._save(replica, item)
            return
        self._emit(replica, replica.act(item))
        if replica.forwards(item):
            self._pass_on(replica, item)
        self._send_control(replica)

    def _send_control(self, replica: StageReplica) -> None:
        if replica.sends_control:
            emitted, items = replica.originated()
            self._emit(replica, emitted)
            for item in items:
                self._pass_on(replica, item)

    def _pass_on(self, replica: StageReplica, item: ControlItem) -> None:
        for stage in replica.stage.outputs:
            if stage not in self._alignments:
                self._alignments[stage] = Alignment(self._producers[stage])
            self._send_items(stage, self._alignments[stage].arrive(replica, item))

    def _send_items(self, stage: int, items: list[ControlItem]) -> None:
        for item in items:
            # One that has gone round its loop ends there.
            gone_round = isinstance(item, Probe) and item.loop == stage
            if gone_round or (isinstance(item, Barrier) and stage in self._came_back):
                continue
            for replica in self._replicas[stage]:
                self._control(replica, item)

    def _emit(self, replica: StageReplica, records: list[Any]) -> None:
        if records:
            for stage in replica.stage.outputs:
                self._send(stage, records, replica)

    def _send(self, stage: int, records: list[Any], sender: StageReplica) -> None:
        if stage in self._came_back:
            if stage in self._refusals:
                raise self._refusals[stage]
            self._came_back[stage].append(records)
            return
        if not self._plan.stages[stage].keyed:
            paired = self._plan.stages[stage].paired
            replicas = self._replicas[stage]
            self._process(replicas[sender.index] if paired else next(self._turns[stage]), records)
            return
        operator = sender.operators[-1].name
        replicas = self._replicas[stage]
        for replica, part in zip(
            replicas, split_by_key(records, len(replicas), operator), strict=True
        ):
            self._process(replica, part)

    def _end(self) -> None:
        if self._checkpointer is not None:
            finished = self._error is None and not self._services.cancelled.is_set()
            failure = self._checkpointer.close(finished=finished)
            self._error = self._error or failure
        if self._on_end is not None:
            self._on_end()

    def _close(self) -> None:
        for stage in self._replicas:
            for replica in stage:
                try:
                    replica.close()
                except Exception as error:  # noqa: BLE001 - the rest must be closed too
                    self._error = self._error or error
        try:
            self._services.registered.close()
        except DataflowError as error:
            self._error = self._error or error
