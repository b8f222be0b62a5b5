"""A job's life as a state machine. Pure: times are given, and nothing is read or started here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from sage.dataflow.restart import RestartPolicy
from sage.errors import JobManagerError


class JobState(StrEnum):
    """How a job of the manager stands; the last four, which end it, are those of `JobStatus`.

    ::

        submitted → starting → running → finished | failed | stopped | cancelled
                        ↘          ↘
                          lost → restarting → running

    A lost one has no driver any more, and waits for its next one.
    """

    SUBMITTED = "submitted"
    STARTING = "starting"
    RUNNING = "running"
    LOST = "lost"
    RESTARTING = "restarting"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in _FINAL

    @property
    def driven(self) -> bool:
        """Whether the job has a driver."""
        return self in (JobState.STARTING, JobState.RUNNING, JobState.RESTARTING)


_FINAL = (JobState.FINISHED, JobState.FAILED, JobState.STOPPED, JobState.CANCELLED)


class Order(StrEnum):
    """What a user has told a job to do."""

    STOP = "stop"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class JobLife:
    """Where a job is in its life; each method returns the life after something has happened.

    Attributes:
        state: how it stands.
        attempt: how many drivers were started for it.
        takeovers: how many of them took over from one that had died, since it was submitted or
            resumed.
        order: what it was told to do, if anything.
        losses: when its drivers died, in seconds since the epoch, since it was submitted or
            resumed.
        due: when its next driver is to be started, in seconds since the epoch; None for at once.
        error: why it failed; None unless it did.
    """

    state: JobState = JobState.SUBMITTED
    attempt: int = 0
    takeovers: int = 0
    order: Order | None = None
    losses: tuple[float, ...] = ()
    due: float | None = None
    error: str | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for a driver."""
        return self.state in (JobState.SUBMITTED, JobState.LOST)

    def started(self) -> JobLife:
        """A driver was started."""
        assert self.waits
        if self.state is JobState.SUBMITTED:
            return replace(self, state=JobState.STARTING, attempt=self.attempt + 1)
        return replace(
            self,
            state=JobState.RESTARTING,
            attempt=self.attempt + 1,
            takeovers=self.takeovers + 1,
            due=None,
        )

    def runs(self) -> JobLife:
        """The driver says that the pipeline runs."""
        assert self.state.driven
        return replace(self, state=JobState.RUNNING)

    def ended(self, state: JobState, error: str | None) -> JobLife:
        """The driver has left a result."""
        assert self.state.driven
        assert state.final
        return replace(self, state=state, error=error)

    def lost(self, now: float, policy: RestartPolicy | None, how: str) -> JobLife:
        """The driver has gone without a result.

        Args:
            now: seconds since the epoch.
            policy: says when the next one starts; None for never.
            how: what became of it, for the error.
        """
        assert self.state.driven
        losses = (*self.losses, now)
        if self.order is Order.CANCEL:
            return replace(self, state=JobState.CANCELLED, losses=losses)
        if self.order is Order.STOP:
            return self._fail(losses, f"{how} before it had drained")
        if policy is None:
            return self._fail(losses, f"{how}, and there is no checkpoint to go on from")
        delay = policy.wait_after(losses)
        if delay is None:
            died = f"{len(losses)} have died" if len(losses) > 1 else "that is the first"
            return self._fail(losses, f"{how}; {died}, and its restart policy allows no more")
        return replace(self, state=JobState.LOST, losses=losses, due=now + delay)

    def ordered(self, order: Order) -> JobLife:
        """The user has told the job to end.

        Raises:
            JobManagerError: it has ended already.
        """
        if self.state.final:
            raise JobManagerError(f"the job is {self.state} already; there is nothing to {order}")
        if not self.waits:
            # A cancelled job is not called back to drain.
            return self if self.order is Order.CANCEL else replace(self, order=order)
        if order is Order.CANCEL or self.state is JobState.SUBMITTED:
            return replace(self, state=JobState.CANCELLED, order=order, due=None)
        # Its records on their way are gone with the driver, so it cannot have drained.
        failed = self._fail(self.losses, "its driver died, and it was stopped before the next one")
        return replace(failed, order=order)

    def resumed(self) -> JobLife:
        """The user has it begin again.

        Raises:
            JobManagerError: it has not ended, or finished what there was to do.
        """
        if not self.state.final:
            raise JobManagerError(
                f"the job is {self.state}; stop or cancel it before you resume it"
            )
        if self.state is JobState.FINISHED:
            raise JobManagerError("the job has finished; there is nothing left to resume")
        return JobLife(attempt=self.attempt)

    def _fail(self, losses: tuple[float, ...], error: str) -> JobLife:
        return replace(self, state=JobState.FAILED, losses=losses, error=error, due=None)
