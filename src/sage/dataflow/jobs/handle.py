"""A job of a job manager: wait for it, stop it, look at it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sage.dataflow.jobs.client import ManagerClient
from sage.dataflow.jobs.details import Details, unpack_details
from sage.dataflow.jobs.life import JobState
from sage.dataflow.jobs.wire import JobOutcome, JobView, Progress
from sage.dataflow.result import (
    JobResult,
    JobStatus,
    OperatorReport,
    error_text,
    result_or_error,
)
from sage.errors import DataflowError, ManagerUnreachableError

# Seconds that one question to the manager may take; that it may be away; between two looks then.
_LONG = 20.0
_AWAY = 20.0
_PAUSE = 0.2


class RemoteJob:
    """A job that was submitted to a job manager; it goes on without this object.

    Args:
        client: of the manager.
        id_: the job's.
        lists: lists of the caller's to which the records of sinks are added when the job has
            ended, by the operator's name.

    Attributes:
        id: by which the manager knows the job.
    """

    def __init__(
        self, client: ManagerClient, id_: str, lists: Mapping[str, list[Any]] | None = None
    ) -> None:
        self.id = id_
        self._client = client
        self._lists = dict(lists or {})
        self._reports: tuple[OperatorReport, ...] = ()
        self._result: JobResult | None = None
        self._away_since: float | None = None

    @property
    def view(self) -> JobView:
        """All that the manager says of the job now."""
        return self._client.job(self.id)

    @property
    def status(self) -> JobState:
        """How the job stands; the last states are those of `JobStatus`."""
        return self.view.state

    @property
    def metrics(self) -> tuple[OperatorReport, ...]:
        """A report for each operator, as of now; while it has no driver, the last ones."""
        if self._result is not None:
            return self._result.operators
        progress = self.view.progress
        if progress is not None and progress.operators:
            self._reports = progress.operators
        return self._reports

    @property
    def elapsed(self) -> float:
        """Seconds since the job was submitted, until it ended."""
        view = self.view
        return (time.time() if view.ended is None else view.ended) - view.created

    @property
    def result(self) -> JobResult | None:
        """What the job did, however it ended; None while it runs."""
        self.poll(0.0)
        return self._result

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; say whether the job has ended.

        A manager that is away for less than 20 s, as when it is restarted, is waited for.

        Raises:
            JobManagerError: the manager does not answer, or the job was deleted.
        """
        return self._wait(timeout)

    def wait(self, timeout: float | None = None) -> JobResult:
        """Wait for the end and return what the job did.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            OperatorError: an operator raised; ``error.result`` has the counts all the same.
            JobCancelledError: the job was cancelled; likewise.
            DataflowError: it failed in another way, as when its driver died; likewise.
            TimeoutError: it has not ended yet; it goes on.
            JobManagerError: the manager does not answer, or the job was deleted.
        """
        if not self._wait(timeout):
            raise TimeoutError(f"job {self.id!r} has not ended after {timeout} s; it goes on")
        assert self._result is not None
        cancelled = f"job {self.id!r} was cancelled before its input ended"
        return result_or_error(self._result, cancelled)

    def stop(self, drain: bool = True, timeout: float | None = None) -> JobResult:
        """End the job and return what it did.

        Args:
            drain: let the records on their way flow through and flush the operators; without it,
                the same as `cancel`.
            timeout: seconds to wait for the end; None waits as long as it takes.

        Raises:
            OperatorError: an operator raised.
            TimeoutError: it has not ended yet.
            JobManagerError: the manager does not answer, or the job was deleted.
        """
        if not drain:
            return self.cancel(timeout)
        self.tell("stop")
        return self.wait(timeout)

    def cancel(self, timeout: float | None = None) -> JobResult:
        """Stop at once, close every operator, and return what was done until then.

        Args:
            timeout: seconds to wait for operators to return; None waits as long as it takes.

        Raises:
            TimeoutError: an operator has not returned yet.
            JobManagerError: the manager does not answer, or the job was deleted.
        """
        self.tell("cancel")
        if not self._wait(timeout):
            raise TimeoutError(f"an operator of job {self.id!r} has not returned in {timeout} s")
        assert self._result is not None
        return self._result

    def tell(self, order: Literal["stop", "cancel"]) -> None:
        """Have the job drain or stop at once, without waiting; one that has ended is left so."""
        if not self._wait(0.0):
            self._client.order(self.id, order)

    def resume(self, checkpoint: Literal["latest"] | int = "latest") -> None:
        """Have the job, which has ended, go on from a checkpoint.

        Raises:
            JobManagerError: it has not ended, has finished, or has no checkpoints.
        """
        self._client.resume(self.id, checkpoint)
        self._result = None

    def logs(self, lines: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """Yield what the job has written, line by line.

        Args:
            lines: so many of the last ones; None for all.
            follow: go on with what is added, until the job ends.
        """
        return self._client.log(self.id, lines, follow=follow)

    def delete(self) -> None:
        """Have the manager forget the job, which has ended; its checkpoints stay.

        Raises:
            JobManagerError: it has not ended.
        """
        self._client.delete(self.id)

    def _wait(self, timeout: float | None) -> bool:
        ends = None if timeout is None else time.monotonic() + timeout
        while self._result is None:
            left = _LONG if ends is None else max(ends - time.monotonic(), 0.0)
            outcome = self._outcome(left)
            if outcome is not None:
                self._settle(outcome)
            elif ends is not None and time.monotonic() >= ends:
                break
        return self._result is not None

    def _outcome(self, wait: float) -> JobOutcome | None:
        """Return how the job ended; None when it has not, or while the manager is away."""
        try:
            outcome = self._client.outcome(self.id, wait)
        except ManagerUnreachableError:
            # It may be restarted just now, which is nothing to the job.
            now = time.monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since >= _AWAY:
                raise
            time.sleep(min(wait, _PAUSE))
            return None
        self._away_since = None
        return outcome

    def _unpacked(self, outcome: JobOutcome) -> Details:
        try:
            return unpack_details(outcome.details)
        except Exception as error:  # noqa: BLE001 - a user's objects may raise anything
            state = outcome.job.state
            return Details(
                DataflowError(
                    f"job {self.id!r} {state}, but the error, dead letters and records that came "
                    f"with its result cannot be unpickled here: {error_text(error)}"
                )
            )

    def _settle(self, outcome: JobOutcome) -> None:
        details = self._unpacked(outcome)
        for name, records in self._lists.items():
            records.extend(details.gathered.get(name, ()))
        self._lists.clear()
        self._result = job_result(outcome.job, details)
        if isinstance(self._result.error, DataflowError):
            self._result.error.result = self._result


def job_result(job: JobView, details: Details) -> JobResult:
    """Return what a job did, as `LocalEnvironment` gives it.

    Args:
        job: one that has ended.
        details: what came with its result.
    """
    done = job.progress or Progress(job.state.value, job.attempt)
    error = details.error
    if error is None and job.error is not None:
        error = DataflowError(job.error)
    return JobResult(
        name=job.name,
        status=JobStatus(job.state.value),
        operators=done.operators,
        duration=(job.ended or job.created) - job.created,
        abandoned=done.abandoned,
        error=error,
        dead_letters=details.dead_letters,
        dead_letter_count=done.dead_letter_count,
        resumed_from=done.resumed_from,
        restarts=done.restarts,
        checkpoints=done.checkpoints,
        failed_checkpoints=done.failed_checkpoints,
        gpus=done.gpus,
    )
