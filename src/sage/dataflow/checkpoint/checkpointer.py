"""Takes a job's checkpoints: asks the sources for barriers, gathers what is saved, writes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from sage.dataflow.checkpoint.gathering import Gathering, Part, States
from sage.dataflow.checkpoint.signature import OperatorSignature
from sage.dataflow.checkpoint.snapshot import JobSnapshot
from sage.dataflow.control import Barrier
from sage.dataflow.history import JobHistory
from sage.errors import CheckpointError

logger = logging.getLogger("sage.dataflow.checkpoint")

# A checkpoint that has not come together after so many intervals, or seconds if those are more, is
# worth a word: a source that never returns keeps it from ending.
SLOW_INTERVALS = 5
SLOW_SECONDS = 30.0


class Store(Protocol):
    """Where checkpoints are kept."""

    def save(self, snapshot: JobSnapshot) -> None:
        """Write one.

        Raises:
            CheckpointError: it cannot be written.
        """


class Checkpointer:
    """Has the state of a running job saved at intervals.

    Sources look at `barrier` between records and send it on when it is a new one; every replica
    hands in its state when the barrier has come to it, and once more when its input has ended.

    Args:
        store: where checkpoints are written.
        graph: the job's operators.
        parts: its replicas.
        interval: seconds from one checkpoint to the next.
        first: number of the first checkpoint.
        history: where checkpoints are counted.
        clock: seconds.
        wall_clock: seconds since the epoch.

    Attributes:
        barrier: the one that every source is to have sent.
    """

    def __init__(
        self,
        store: Store,
        graph: tuple[OperatorSignature, ...],
        parts: Iterable[Part],
        *,
        interval: float,
        first: int = 1,
        history: JobHistory,
        clock: Callable[[], float] = time.perf_counter,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.barrier: Barrier | None = None
        self._history = history
        self._store = store
        self._graph = graph
        self._interval = interval
        self._clock = clock
        self._wall_clock = wall_clock
        self._gathering = Gathering(parts)
        self._number = first - 1
        self._begun_at = wall_clock()
        self._due = clock() + interval
        self._stopping = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failure: CheckpointError | None = None
        self._announce: Callable[[Barrier], None] | None = None

    def start(self) -> None:
        """Begin to take checkpoints, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def on_barrier(self, announce: Callable[[Barrier], None]) -> None:
        """Call ``announce`` with each new barrier, where sources cannot look at `barrier`."""
        self._announce = announce

    def stop(self) -> None:
        """Have a last checkpoint taken, with which the job ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def save(self, part: Part, barrier: Barrier, states: States) -> None:
        """Take a replica's state at a barrier."""
        with self._changed:
            self._gathering.save(part, barrier.number, states)
            self._changed.notify_all()

    def end(self, part: Part, states: States) -> None:
        """Take the last state of a replica whose input has ended."""
        with self._changed:
            self._gathering.end(part, states)
            self._changed.notify_all()

    def close(self, *, finished: bool) -> CheckpointError | None:
        """Take no more checkpoints, every replica having stopped.

        Args:
            finished: whether all is done that there was to do; that is then saved.

        Returns:
            why the last checkpoint, for whose sake nothing was flushed, could not be written.
        """
        with self._changed:
            # What has come together is written; only what cannot any more is given up.
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if finished and self._gathering.ended:
            self._begin(last=False)
            self._write(Barrier(self._number))
            return None
        return self._failure

    def take(self, send: Callable[[Barrier], None], *, last: bool = False) -> None:
        """Take a checkpoint in the calling thread.

        Args:
            send: takes the barrier through the whole job.
            last: whether the job ends with it.
        """
        barrier = self._begin(last=last)
        send(barrier)
        if not self._gathering.missing:
            self._write(barrier)

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock() >= self._due

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._await_turn():
                    return
                barrier = self._begin(last=self._stopping)
                if not self._await_states():
                    return
            self._write(barrier)
            if barrier.last:
                return

    def _await_turn(self) -> bool:
        """Wait until the next checkpoint is due or asked for; say whether there is to be one."""
        while not (self._closed or self._stopping):
            left = self._due - self._clock()
            if left <= 0:
                break
            self._changed.wait(left)
        return not self._closed

    def _await_states(self) -> bool:
        """Wait until all replicas have saved their state; say whether they have."""
        patience = max(SLOW_SECONDS, SLOW_INTERVALS * self._interval)
        while self._gathering.missing:
            if self._closed:
                return False
            if not self._changed.wait(patience) and self._gathering.missing:
                logger.warning(
                    "checkpoint %d waits for stages %s since %.0f s; a source or operator that "
                    "does not return keeps it from coming together",
                    self._number,
                    ", ".join(sorted({str(part.stage) for part in self._gathering.missing})),
                    patience,
                )
        return True

    def _begin(self, *, last: bool) -> Barrier:
        self._number += 1
        self._begun_at = self._wall_clock()
        self._due = self._clock() + self._interval
        self._gathering.begin(self._number)
        self.barrier = barrier = Barrier(self._number, last)
        if self._announce is not None:
            self._announce(barrier)
        return barrier

    def _write(self, barrier: Barrier) -> None:
        snapshot = JobSnapshot(
            barrier.number, self._begun_at, self._graph, self._gathering.snapshots()
        )
        try:
            self._store.save(snapshot)
        except Exception as error:  # noqa: BLE001 - the job must learn of any, and go on
            self._history.failed_checkpoints += 1
            logger.warning("checkpoint %d was not written: %s", barrier.number, error)
            if barrier.last:
                self._failure = _as_checkpoint_error(error)
        else:
            self._history.checkpoints += 1
            self._history.last_checkpoint = barrier.number


def _as_checkpoint_error(error: Exception) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    failure = CheckpointError(f"the last checkpoint was not written: {error!r}")
    failure.__cause__ = error
    return failure
