"""A submitted job: wait for it, stop it, look at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sage.dataflow.dead_letters import DeadLetters
from sage.dataflow.gpu import GpuProbe, GpuReading
from sage.dataflow.graph import Node
from sage.dataflow.monitor import Monitor
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.result import (
    JobResult,
    JobStatus,
    OperatorReport,
    count_abandoned,
    report_operators,
)
from sage.errors import JobCancelledError


class Runtime(Protocol):
    """What runs a plan: the seam behind which threads, processes or a cluster lie."""

    @property
    def error(self) -> BaseException | None:
        """What stopped the job, if anything did."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator, by its id in the graph."""

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on; what they have given flows through."""

    def fail(self, error: BaseException) -> None:
        """End the job with an error, unless one has ended it already."""

    def start(self) -> None:
        """Start the job; a runtime without threads of its own runs it to the end."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; say whether it has come."""

    def stop(self) -> None:
        """Let the sources end; what they have given flows through."""

    def cancel(self) -> None:
        """Stop at once: records on their way are abandoned."""


class JobHandle:
    """A job that was submitted.

    Args:
        name: the environment's name.
        nodes: the graph's operators.
        operators: every operator's replicas.
        runtime: what runs them.
        dead_letters: where records go that were given up.
        monitor: what watches it while it runs, if anything does.
        gpus: what reads the GPUs for it, if anything does.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        nodes: tuple[Node, ...],
        operators: list[OperatorReplica],
        runtime: Runtime,
        dead_letters: DeadLetters,
        *,
        monitor: Monitor | None = None,
        gpus: GpuProbe | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._name = name
        self._nodes = nodes
        self._operators = operators
        self._runtime = runtime
        self._dead_letters = dead_letters
        self._monitor = monitor or Monitor((), lambda: True)
        self._gpus = gpus
        self._clock = clock
        self._cancelled = False
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
        return report_operators(self._operators, self._runtime.queued())

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

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            OperatorError: an operator raised; `result` has the counts all the same.
            JobCancelledError: the job was cancelled.
            TimeoutError: it has not ended yet; it goes on.
        """
        if not self._poll(timeout):
            raise TimeoutError(f"job {self._name!r} has not ended after {timeout} s; it goes on")
        result = self._result
        assert result is not None
        if result.error is not None:
            raise result.error
        if result.status is JobStatus.CANCELLED:
            raise JobCancelledError(f"job {self._name!r} was cancelled before its input ended")
        return result

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
            self._runtime.cancel()
        if not self._poll(timeout):
            raise TimeoutError(f"an operator of job {self._name!r} has not returned in {timeout} s")
        assert self._result is not None
        return self._result

    def _poll(self, timeout: float | None) -> bool:
        if self._result is None and self._runtime.wait(timeout):
            self._settle()
        return self._result is not None

    def _settle(self) -> None:
        self._monitor.stop()
        error = self._runtime.error
        if error is not None:
            status = JobStatus.FAILED
        else:
            status = JobStatus.CANCELLED if self._cancelled else JobStatus.FINISHED
        reports = self.metrics
        self._result = JobResult(
            name=self._name,
            status=status,
            operators=reports,
            duration=self.elapsed,
            abandoned=count_abandoned(self._nodes, reports),
            error=error,
            dead_letters=self._dead_letters.kept(),
            gpus=self.gpus,
        )
