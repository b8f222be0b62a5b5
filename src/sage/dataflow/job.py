"""A submitted job: wait for it, stop it, look at it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sage.dataflow.dead_letters import DeadLetters
from sage.dataflow.gpu import GpuProbe, GpuReading
from sage.dataflow.graph import Node
from sage.dataflow.history import JobHistory
from sage.dataflow.interrupts import Terminated, Watchdog, in_main_thread, terminations_handled
from sage.dataflow.monitor import Monitor
from sage.dataflow.result import (
    JobResult,
    JobStatus,
    OperatorReport,
    count_abandoned,
    report_operators,
    result_or_error,
)
from sage.dataflow.runtime.runtime import Runtime
from sage.dataflow.shutdown import Order, Shutdown
from sage.errors import DataflowError

SLICE = 0.1

logger = logging.getLogger("sage.dataflow")


class JobHandle:
    """A job that was submitted.

    Args:
        name: the environment's name.
        nodes: the graph's operators.
        runtime: what runs them.
        dead_letters: where records go that were given up.
        history: what becomes of it over restarts and checkpoints.
        grace: seconds to drain after SIGTERM.
        monitor: what watches it while it runs, if anything does.
        gpus: what reads the GPUs for it, if anything does.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        nodes: tuple[Node, ...],
        runtime: Runtime,
        dead_letters: DeadLetters,
        *,
        history: JobHistory,
        grace: float = 30.0,
        monitor: Monitor | None = None,
        gpus: GpuProbe | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._name = name
        self._nodes = nodes
        self._runtime = runtime
        self._dead_letters = dead_letters
        self._history = history
        self._monitor = monitor or Monitor((), lambda: True)
        self._gpus = gpus
        self._clock = clock
        self._stopped = False
        self._cancelled = False
        self._left_behind: tuple[str, ...] = ()
        self._shutdown = Shutdown(grace, clock)
        self._watchdog = Watchdog()
        self._settling = threading.Lock()
        self._result: JobResult | None = None
        self._started = clock()

    def start(self) -> None:
        """Start the job; called by the environment.

        Raises:
            KeyboardInterrupt: after every operator was closed.
        """
        try:
            self._monitor.start()
            self._runtime.start()
        except Terminated:
            self.cancel()
        except BaseException:
            self.cancel()
            raise

    @property
    def status(self) -> JobStatus:
        """How the job stands."""
        return self._result.status if self._poll(0) and self._result else JobStatus.RUNNING

    @property
    def metrics(self) -> tuple[OperatorReport, ...]:
        """A report for each operator, as of now."""
        return report_operators(self._runtime.operators, self._runtime.queued())

    @property
    def history(self) -> JobHistory:
        """What has become of it over restarts and checkpoints."""
        return self._history

    @property
    def dead_letter_count(self) -> int:
        """How many records were given up until now."""
        return self._dead_letters.count

    @property
    def gpus(self) -> tuple[GpuReading, ...]:
        """What was seen of each GPU until now, as `JobResult.gpus`."""
        return self._gpus.readings() if self._gpus is not None else ()

    @property
    def elapsed(self) -> float:
        """Seconds since the job was submitted."""
        return self._clock() - self._started

    @property
    def result(self) -> JobResult | None:
        """What the job did, however it ended; None while it runs."""
        self._poll(0)
        return self._result

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; say whether the job has ended. Never raises."""
        return self._poll(timeout)

    def wait(self, timeout: float | None = None) -> JobResult:
        """Wait for the end and return what the job did.

        In the main thread, a SIGTERM meanwhile drains the job, as `stop` does, unless the program
        handles SIGTERM itself. A second one, or the end of ``config={"grace": …}``, cancels it.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            OperatorError: an operator raised; ``error.result`` has the counts all the same.
            JobCancelledError: the job was cancelled; likewise.
            TimeoutError: it has not ended yet; it goes on.
        """
        with self.terminable():
            ended = self._poll(timeout)
        if not ended:
            raise TimeoutError(f"job {self._name!r} has not ended after {timeout} s; it goes on")
        assert self._result is not None
        return result_or_error(self._result, self._cancellation())

    def stop(self, drain: bool = True, timeout: float | None = None) -> JobResult:
        """End the job and return what it did.

        Args:
            drain: let the records on their way flow through and flush the operators; without it,
                the same as `cancel`.
            timeout: seconds to wait for the end; None waits as long as it takes.

        Raises:
            OperatorError: an operator raised.
            TimeoutError: it has not ended yet.
        """
        if not drain:
            return self.cancel(timeout)
        if not self._poll(0):
            self._stopped = True
            self._runtime.stop()
        return self.wait(timeout)

    def cancel(self, timeout: float | None = None) -> JobResult:
        """Stop at once, close every operator, and return what was done until then.

        Args:
            timeout: seconds to wait for operators to return; None waits as long as it takes.

        Raises:
            TimeoutError: an operator has not returned yet.
        """
        if self._result is None:
            self._cancelled = True
            self._shutdown.cancelled()
            self._runtime.cancel()
        if not self._poll(timeout):
            raise TimeoutError(f"an operator of job {self._name!r} has not returned in {timeout} s")
        assert self._result is not None
        return self._result

    def stop_soon(self) -> None:
        """Have the job drain, as `stop` does, and return at once. Never raises."""
        if not self._poll(0):
            self._stopped = True
            self._runtime.stop()

    def cancel_soon(self) -> None:
        """Have the job stop at once, as `cancel` does, and return without waiting. Never raises.

        Whoever waits for the job in the main thread goes on without operators that do not return
        within some seconds.
        """
        if not self._poll(0):
            self._cancelled = True
            self._shutdown.cancelled()
            self._shutdown.signalled()
            self._runtime.cancel()

    @contextmanager
    def terminable(self) -> Iterator[None]:
        """Let a SIGTERM within the block drain the job; see `wait`."""
        with terminations_handled(self._signalled):
            try:
                yield
            finally:
                self._watchdog.call_off()

    def _signalled(self) -> None:
        """Take a SIGTERM; what can be left to who waits is left to it."""
        self._shutdown.signalled()
        if not self._runtime.blocking:
            return
        order = self._shutdown.order()
        if order is Order.DRAIN:
            self._stopped = True
            self._runtime.signalled()
            self._watchdog.start(self._shutdown.grace)
        elif order is not None or self._cancelled:
            self._cancelled = True
            self._runtime.interrupt()

    def _obey(self) -> None:
        """Do what SIGTERM, or its grace period, asks for now."""
        order = self._shutdown.order()
        if order is Order.DRAIN:
            logger.warning(
                "SIGTERM: job %r drains, for up to %g s; another SIGTERM stops it at once",
                self._name,
                self._shutdown.grace,
            )
            self._stopped = True
            self._runtime.stop()
        elif order is Order.CANCEL:
            logger.warning("job %r has not drained: it stops at once", self._name)
            self._cancelled = True
            self._runtime.cancel()
        elif order is Order.ABANDON:
            self._left_behind = self._runtime.abandon()
            self._settle()

    def _poll(self, timeout: float | None) -> bool:
        ends = None if timeout is None else self._clock() + timeout
        while self._result is None:
            left = SLICE if ends is None else min(SLICE, ends - self._clock())
            if self._runtime.wait(max(left, 0.0)):
                self._settle()
            elif in_main_thread():
                self._obey()
            if ends is not None and self._clock() >= ends:
                break
        return self._result is not None

    def _status(self, error: BaseException | None) -> JobStatus:
        if error is not None:
            return JobStatus.FAILED
        if self._cancelled:
            return JobStatus.CANCELLED
        return JobStatus.STOPPED if self._stopped else JobStatus.FINISHED

    def _cancellation(self) -> str:
        message = f"job {self._name!r} was cancelled before its input ended"
        if self._left_behind:
            names = ", ".join(self._left_behind)
            message += f"; these had not returned and were left behind: {names}"
        return message

    def _settle(self) -> None:
        # Several threads may wait for the job.
        with self._settling:
            if self._result is None:
                self._monitor.stop()
                closing = self._dead_letters.close()
                result = self._make_result(self._runtime.error or closing)
                if isinstance(result.error, DataflowError):
                    result.error.result = result
                self._result = result

    def _make_result(self, error: BaseException | None) -> JobResult:
        reports = self.metrics
        return JobResult(
            name=self._name,
            status=self._status(error),
            operators=reports,
            duration=self.elapsed,
            abandoned=count_abandoned(self._nodes, reports),
            error=error,
            dead_letters=self._dead_letters.kept(),
            dead_letter_count=self._dead_letters.count,
            resumed_from=self._history.resumed_from,
            restarts=self._history.restarts,
            checkpoints=self._history.checkpoints,
            failed_checkpoints=self._history.failed_checkpoints,
            gpus=self.gpus,
        )
