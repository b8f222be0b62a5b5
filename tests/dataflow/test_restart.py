"""Restart strategies: whether a failed job starts again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.restart import (
    Exponential,
    FailureRate,
    FixedDelay,
    NoRestart,
    RestartPolicy,
    read_restart,
)
from sage.errors import ConfigError, UnknownKeyError

gaps = st.lists(st.floats(0, 1000), min_size=1, max_size=60)
seconds = st.floats(0, 1e6)


def failing(policy: RestartPolicy, runs: Sequence[float]) -> list[float]:
    """Let a job fail after each of these seconds of running; return the waits until the end."""
    now, failures, waits = 0.0, [], []
    for run in runs:
        now += run
        failures.append(now)
        wait = policy.wait_after(failures)
        if wait is None:
            break
        waits.append(wait)
        now += wait
    return waits


def middle() -> float:
    return 0.5


def test_none() -> None:
    """The first failure ends the job."""
    assert NoRestart().wait_after([1.0]) is None


@given(st.integers(1, 50), seconds, gaps)
def test_fixed_delay(attempts: int, delay: float, runs: list[float]) -> None:
    """Each start after the same time; exactly as many as asked for, however long runs last."""
    waits = failing(FixedDelay(attempts, delay), runs)
    assert waits == [delay] * min(attempts, len(runs))


def test_exponential_doubles_up_to_the_most() -> None:
    """1, 2, 4 … and never more than max_delay, after thousands of failures too."""
    policy = Exponential(max_delay=10.0, jitter=0.0)
    assert failing(policy, [0.1] * 6) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert failing(policy, [0.0] * 3000)[-1] == 10.0


def test_exponential_begins_anew() -> None:
    """After a run long enough, at the first delay, and with all its attempts."""
    policy = Exponential(reset_after=100.0, jitter=0.0, attempts=3)
    assert failing(policy, [1, 1, 1, 500, 1, 1, 1, 1]) == [1.0, 2.0, 4.0, 1.0, 2.0, 4.0]


def test_exponential_jitter() -> None:
    """A share of the delay, by the generator given: the same seed gives the same waits."""
    assert failing(Exponential(jitter=0.5, uniform=middle), [1, 1]) == [0.75, 1.5]
    first = failing(Exponential(uniform=random.Random(7).random), [1] * 9)
    assert first == failing(Exponential(uniform=random.Random(7).random), [1] * 9)
    assert first != failing(Exponential(uniform=random.Random(8).random), [1] * 9)


@given(
    first=st.floats(0, 100),
    factor=st.floats(1, 10),
    longest=st.floats(0, 100),
    jitter=st.floats(0, 1),
    attempts=st.none() | st.integers(1, 50),
    runs=gaps,
    seed=st.randoms(use_true_random=False),
)
def test_exponential_bounds(
    first: float,
    factor: float,
    longest: float,
    jitter: float,
    attempts: int | None,
    runs: list[float],
    seed: random.Random,
) -> None:
    """Waits stay between the least after jitter and max_delay, starts in a row within attempts."""
    policy = Exponential(
        first, factor, longest, 101.0, jitter, attempts=attempts, uniform=seed.random
    )
    waits = failing(policy, runs)
    least = min(first, longest) * (1 - jitter)
    assert all(least <= wait <= longest for wait in waits)
    if attempts is None:
        assert len(waits) == len(runs)
    elif max(runs) < 1:
        assert len(waits) == min(attempts, len(runs))


def test_failure_rate() -> None:
    """Three within ten seconds are borne, the fourth is not; older ones do not count."""
    policy = FailureRate(failures=3, within=10.0, delay=2.0)
    assert policy.wait_after([0.0, 1.0, 9.0]) == 2.0
    assert policy.wait_after([0.0, 1.0, 9.0, 9.9]) is None
    assert policy.wait_after([0.0, 1.0, 9.0, 10.0]) == 2.0


@given(st.integers(1, 5), st.floats(1, 100), gaps)
def test_failure_rate_window(most: int, within: float, gaps: list[float]) -> None:
    """It gives up exactly when more failures than that lie within the time before the last."""
    times = list(accumulate(gaps))
    gives_up = FailureRate(most, within, 0.0).wait_after(times) is None
    # The failures are in order, so only the one that many back can be too near.
    assert gives_up == (len(times) > most and times[-1] - times[-1 - most] < within)


@given(seconds, gaps)
def test_one_failure_is_always_borne(delay: float, gaps: list[float]) -> None:
    """All strategies but none start again after the first failure, whenever it comes."""
    for policy in (FixedDelay(1, delay), FailureRate(1, 1.0, delay), Exponential()):
        assert policy.wait_after(gaps[:1]) is not None


@pytest.mark.parametrize(
    ("given_", "policy"),
    [
        (None, NoRestart()),
        ("none", NoRestart()),
        ("exponential", Exponential()),
        ({"strategy": "none"}, NoRestart()),
        ({"strategy": "fixed_delay", "attempts": 5, "delay": 0}, FixedDelay(5, 0)),
        ({"strategy": "failure_rate", "within": 60}, FailureRate(within=60)),
        (
            {"strategy": "exponential", "max_delay": 5, "attempts": None, "jitter": 0},
            Exponential(max_delay=5, jitter=0),
        ),
        (FixedDelay(2), FixedDelay(2)),
    ],
)
def test_reading(given_: Any, policy: RestartPolicy) -> None:
    """A name, a dict with the strategy's attributes, or a policy."""
    assert read_restart(given_) == policy


@pytest.mark.parametrize("strategy", ["fixed_delay", "exponential", "failure_rate", "none"])
def test_unknown_keys(strategy: str) -> None:
    """The error names the strategy and what it has."""
    with pytest.raises(
        UnknownKeyError, match=f"restart strategy '{strategy}': unknown key 'tries'"
    ):
        read_restart({"strategy": strategy, "tries": 3})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("fixed", "restart strategy is 'fixed'; choose a strategy of 'none', 'fixed_delay', "),
        ({"strategy": 3}, "restart strategy is 3; choose"),
        ({"attempts": 3}, 'restart has no "strategy"; choose'),
        (3, "restart is 3; choose"),
        (FixedDelay, "choose a strategy of"),
        ({"strategy": "fixed_delay", "attempts": 0}, "restart attempts is 0; give a whole number"),
        ({"strategy": "fixed_delay", "attempts": None}, "restart attempts is None"),
        ({"strategy": "fixed_delay", "delay": -1}, "restart delay is -1; give seconds from 0"),
        ({"strategy": "failure_rate", "failures": 1.5}, "restart failures is 1.5"),
        ({"strategy": "failure_rate", "within": 0}, "restart within is 0; give seconds above 0"),
        ({"strategy": "exponential", "factor": 0.5}, "restart factor is 0.5; give a number from 1"),
        ({"strategy": "exponential", "jitter": 2}, "restart jitter is 2; give a share from 0 to 1"),
        ({"strategy": "exponential", "jitter": "a"}, "restart jitter is 'a'"),
        ({"strategy": "exponential", "max_delay": float("nan")}, "restart max_delay is nan"),
        ({"strategy": "exponential", "factor": float("inf")}, "restart factor is inf"),
        ({"strategy": "exponential", "uniform": 3}, "restart uniform is 3"),
        (
            {"strategy": "exponential", "reset_after": 30},
            "restart reset_after is 30 and max_delay 60.0; give reset_after more",
        ),
    ],
)
def test_wrong_values(config: Any, message: str) -> None:
    """The error has the key, the value and what to give."""
    with pytest.raises(ConfigError) as raised:
        read_restart(config)
    assert message in str(raised.value)
