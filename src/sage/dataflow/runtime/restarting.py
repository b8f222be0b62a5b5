"""Starts a job again after a failure, from its last checkpoint."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from sage.dataflow.history import JobHistory
from sage.dataflow.interrupts import Terminated
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.restart import RestartPolicy
from sage.dataflow.runtime.feed import SLICE
from sage.dataflow.runtime.runtime import Runtime
from sage.errors import CheckpointError, GraphError

logger = logging.getLogger("sage.dataflow")

# What would only happen again.
FINAL = (CheckpointError, GraphError)


class RestartingRuntime:
    """Runs one attempt at the job after the other, as long as the policy says so.

    Args:
        name: the job's, for the log.
        begin: makes the next attempt, which goes on from the last checkpoint.
        policy: says how long to wait before it.
        history: where restarts are counted.
        on_end: called when the last attempt has ended.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[], Runtime],
        policy: RestartPolicy,
        history: JobHistory,
        *,
        on_end: Callable[[], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._on_end = on_end
        self._name = name
        self._begin = begin
        self._policy = policy
        self._history = history
        self._clock = clock
        self._failures: list[float] = []
        self._attempt = begin()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._signalled = False
        self._waiting = False
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def operators(self) -> list[OperatorReplica]:
        """Every operator's replicas, of the present attempt."""
        return self._attempt.operators

    @property
    def error(self) -> BaseException | None:
        """What the last attempt failed with, if it did."""
        return self._error

    @property
    def ended(self) -> bool:
        """Whether the last attempt has ended."""
        return self._done.is_set()

    def worker_pids(self) -> list[int]:
        """Return the ids of the present attempt's worker processes."""
        return self._attempt.worker_pids()

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator, in the present attempt."""
        return self._attempt.queued()

    def pause(self, paused: bool) -> None:
        """Hold the sources of the present attempt, or let them go on."""
        self._attempt.pause(paused)

    def fail(self, error: BaseException) -> None:
        """End the present attempt with an error; the policy says what follows."""
        self._attempt.fail(error)

    def start(self) -> None:
        """Start the first attempt; a runtime without threads of its own runs all to the end."""
        if self._attempt.blocking:
            self._supervise()
        else:
            name = f"{self._name} restarts"
            self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)
            self._thread.start()

    @property
    def blocking(self) -> bool:
        """Whether `start` returns only when the job has ended."""
        return self._attempt.blocking

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the last attempt; say whether it has come."""
        ends = None if timeout is None else self._clock() + timeout
        while not self._done.wait(SLICE if ends is None else min(SLICE, ends - self._clock())):
            if ends is not None and self._clock() >= ends:
                return False
        if self._thread is not None:
            self._thread.join()
        return True

    def stop(self) -> None:
        """Let the sources end; a job that waits for its next attempt fails as it did."""
        with self._lock:
            self._ending.set()
            self._attempt.stop()

    def cancel(self) -> None:
        """Stop at once."""
        with self._lock:
            self._ending.set()
            self._attempt.cancel()

    def signalled(self) -> None:
        """Let the sources end, from a signal handler; there is no other attempt then."""
        self._signalled = True
        self._attempt.signalled()

    def interrupt(self) -> None:
        """Leave whatever runs in the caller.

        Raises:
            Terminated: when something does.
        """
        if self._waiting:
            raise Terminated
        self._attempt.interrupt()

    def abandon(self) -> tuple[str, ...]:
        """Go on without the threads of the present attempt that have not returned."""
        return self._attempt.abandon()

    def _supervise(self) -> None:
        try:
            while True:
                self._attempt.start()
                self._attempt.wait()
                self._error = self._attempt.error
                if self._error is None or not self._next_attempt(self._error):
                    return
        except Exception as error:  # noqa: BLE001 - the handle raises it to whoever waits
            self._error = error
        finally:
            self._on_end()
            self._done.set()

    def _next_attempt(self, error: BaseException) -> bool:
        """Wait and make the next attempt; say whether there is to be one."""
        if self._over() or isinstance(error, FINAL) or not isinstance(error, Exception):
            return False
        self._failures.append(self._clock())
        delay = self._policy.wait_after(self._failures)
        if delay is None:
            return False
        last = self._history.last_checkpoint or self._history.resumed_from
        logger.warning(
            "job %r failed (%s); it starts again in %.1f s from %s",
            self._name,
            error,
            delay,
            "its beginning" if last is None else f"checkpoint {last}",
        )
        if self._wait_for_the_next(delay):
            return False
        with self._lock:
            if self._over():
                return False
            self._attempt = self._begin()
        self._history.restarts += 1
        return True

    def _over(self) -> bool:
        """Whether there is to be no other attempt."""
        return self._ending.is_set() or self._signalled

    def _wait_for_the_next(self, delay: float) -> bool:
        """Wait before the next attempt; say whether there is none."""
        self._waiting = True
        try:
            # In slices: a signal handler may not set the event that its thread waits for.
            while delay > 0 and not self._over():
                self._ending.wait(min(SLICE, delay))
                delay -= SLICE
        finally:
            self._waiting = False
        return self._over()
