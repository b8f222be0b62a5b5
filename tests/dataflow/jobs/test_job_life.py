"""The state machine of a job, with times given."""

from __future__ import annotations

import pytest

from sage.dataflow.jobs.life import JobLife, JobState, Order
from sage.dataflow.restart import FixedDelay, NoRestart
from sage.errors import JobManagerError

TWICE = FixedDelay(attempts=2, delay=1.5)


def running() -> JobLife:
    return JobLife().started().runs()


def test_a_job_that_goes_well() -> None:
    """Submitted, starting, running, finished; one driver did it."""
    life = JobLife()
    assert life.state is JobState.SUBMITTED
    life = life.started()
    assert life.state is JobState.STARTING
    life = life.runs()
    assert life.state is JobState.RUNNING
    life = life.ended(JobState.FINISHED, None)
    assert life == JobLife(JobState.FINISHED, attempt=1)
    assert life.state.final


def test_a_lost_driver_is_followed_by_another_after_the_delay() -> None:
    """As the policy says, until it says no more; then the error says how often."""
    life = running().lost(10.0, TWICE, "driver 1 died")
    assert (life.state, life.due, life.waits) == (JobState.LOST, 11.5, True)
    life = life.started()
    assert (life.state, life.attempt, life.due) == (JobState.RESTARTING, 2, None)
    life = life.runs().lost(20.0, TWICE, "driver 2 died").started()
    assert (life.attempt, life.takeovers) == (3, 2)
    life = life.lost(30.0, TWICE, "driver 3 died")
    assert life.state is JobState.FAILED
    assert life.error == "driver 3 died; 3 have died, and its restart policy allows no more"


def test_a_lost_driver_without_checkpoints_fails_the_job() -> None:
    """There is nothing to go on from, and the error says so."""
    life = running().lost(1.0, None, "its driver died")
    assert life.state is JobState.FAILED
    assert life.error == "its driver died, and there is no checkpoint to go on from"
    assert running().lost(1.0, NoRestart(), "x").state is JobState.FAILED


def test_a_job_that_was_told_to_end_gets_no_other_driver() -> None:
    """A cancelled one is cancelled all the same; one that drained has failed to."""
    life = running().ordered(Order.CANCEL).lost(1.0, TWICE, "its driver died")
    assert (life.state, life.error) == (JobState.CANCELLED, None)
    life = running().ordered(Order.STOP).lost(1.0, TWICE, "its driver died")
    assert (life.state, life.error) == (JobState.FAILED, "its driver died before it had drained")


@pytest.mark.parametrize("order", Order)
def test_a_job_that_has_not_begun_is_cancelled_by_any_order(order: Order) -> None:
    """No driver is needed for that."""
    assert JobLife().ordered(order).state is JobState.CANCELLED


def test_a_lost_job_that_is_told_to_end_ends_at_once() -> None:
    """It cannot drain any more."""
    lost = running().lost(1.0, TWICE, "its driver died")
    assert lost.ordered(Order.CANCEL).state is JobState.CANCELLED
    assert lost.ordered(Order.STOP).state is JobState.FAILED


def test_cancel_holds_after_stop_and_not_the_other_way_round() -> None:
    """A job that stops at once is not called back to drain."""
    assert running().ordered(Order.STOP).ordered(Order.CANCEL).order is Order.CANCEL
    assert running().ordered(Order.CANCEL).ordered(Order.STOP).order is Order.CANCEL


@pytest.mark.parametrize("state", ["failed", "stopped", "cancelled"])
def test_a_job_that_has_ended_can_be_resumed(state: str) -> None:
    """It waits for a driver, whose number was not given before, and its losses are forgotten."""
    life = running().lost(1.0, TWICE, "x").started().ended(JobState(state), "why").resumed()
    assert life == JobLife(attempt=2)
    assert life.started().attempt == 3


def test_what_a_state_does_not_allow_is_refused() -> None:
    """With the state in the message."""
    finished = running().ended(JobState.FINISHED, None)
    with pytest.raises(JobManagerError, match="finished; there is nothing left to resume"):
        finished.resumed()
    with pytest.raises(JobManagerError, match="is finished already; there is nothing to cancel"):
        finished.ordered(Order.CANCEL)
    with pytest.raises(JobManagerError, match="is running; stop or cancel it"):
        running().resumed()
