"""What SIGTERM asks of a job, by the clock."""

from __future__ import annotations

import pytest
from tests.timed import Clock

from sage.dataflow import LocalEnvironment
from sage.dataflow.shutdown import Order, Shutdown
from sage.errors import ConfigError


def machine(clock: Clock) -> Shutdown:
    return Shutdown(30.0, clock, patience=5.0)


def test_nothing_without_a_signal() -> None:
    """Time alone asks nothing."""
    clock = Clock()
    shutdown = machine(clock)
    clock.now += 1000
    assert shutdown.order() is None


def test_grace_and_patience() -> None:
    """Drain at once, cancel after the grace, go on alone after the patience; each said once."""
    clock = Clock()
    shutdown = machine(clock)
    shutdown.signalled()
    seen = {}
    for step in range(400):
        order = shutdown.order()
        if order is not None:
            seen[order] = step / 10
        clock.now += 0.1
    assert seen == {
        Order.DRAIN: 0,
        Order.CANCEL: pytest.approx(30, abs=0.11),
        Order.ABANDON: pytest.approx(35, abs=0.21),
    }


def test_a_second_signal() -> None:
    """It cancels at once; two that came together drain first, so that nothing is skipped."""
    shutdown = machine(Clock())
    shutdown.signalled()
    shutdown.signalled()
    assert [shutdown.order() for _ in range(3)] == [Order.DRAIN, Order.CANCEL, None]


def test_a_job_that_was_cancelled() -> None:
    """After a Ctrl-C, SIGTERM gives operators that do not return a last while."""
    clock = Clock()
    shutdown = machine(clock)
    shutdown.cancelled()
    clock.now += 100
    assert shutdown.order() is None
    shutdown.signalled()
    assert shutdown.order() is Order.ABANDON


@pytest.mark.parametrize("grace", [-1, float("inf"), "long", True])
def test_a_grace_that_is_wrong(grace: object) -> None:
    """It is a number of seconds from 0."""
    with pytest.raises(ConfigError, match=f"grace is {grace!r}; give seconds from 0"):
        LocalEnvironment(config={"grace": grace})
