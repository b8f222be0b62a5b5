"""The circuit breaker, and the budget of resends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError
from sage.inference.gateway.breaker import Breaker, BreakerRule, BreakerState
from sage.inference.gateway.failover import ResendBudget

RULE = BreakerRule(failures=3, share=0.5, window=10.0, first_pause=1.0, longest_pause=4.0)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(RULE)
    for _ in range(3):
        breaker.failed(now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_opens_after_enough_failures_that_are_a_large_share() -> None:
    """Three failures open it, unless as many more were answered meanwhile."""
    breaker = Breaker(RULE)
    assert [breaker.failed(t) for t in (0.0, 0.1, 0.2)] == [False, False, True]
    mixed = Breaker(RULE)
    mixed.failed(0.0)
    for _ in range(5):
        mixed.succeeded(0.1)
    assert not mixed.failed(0.2)
    assert not mixed.failed(0.3)
    assert mixed.state is BreakerState.CLOSED


def test_failures_are_forgotten_after_the_window() -> None:
    """Two failures long ago and two now do not add up to three."""
    breaker = Breaker(RULE)
    assert not any(breaker.failed(t) for t in (0.0, 0.1, 11.0, 11.1))
    assert breaker.failed(11.2)


def test_half_open_after_the_pause_and_closed_by_one_success() -> None:
    """The pause passes, one probe may go, and its answer closes the breaker."""
    breaker = opened()
    assert not breaker.tick(0.99)
    assert breaker.tick(1.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.succeeded(1.1)
    assert breaker.state is BreakerState.CLOSED
    assert not breaker.watchful


def test_a_failed_probe_doubles_the_pause_up_to_the_bound() -> None:
    """1, 2, 4 and again 4 s; after a success it begins at 1 s again."""
    breaker, now = opened(), 0.0
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert not breaker.tick(now + pause - 0.01)
        now += pause
        assert breaker.tick(now)
        assert breaker.failed(now)
    now += 4.0
    assert breaker.tick(now)
    breaker.succeeded(now)
    for _ in range(3):
        breaker.failed(now)
    assert breaker.tick(now + 1.0)


def test_late_failures_of_an_open_breaker_change_nothing() -> None:
    """Requests that were under way when it opened do not make the pause longer."""
    breaker = opened()
    assert not breaker.failed(0.9)
    assert breaker.tick(1.0)


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "tick"]), st.floats(0, 3)), max_size=60))
def test_it_always_recovers(events: list[tuple[str, float]]) -> None:
    """Whatever happened, the longest pause and one answered probe close it."""
    breaker, now = Breaker(RULE), 0.0
    for name, step in events:
        now += step
        if name == "tick":
            breaker.tick(now)
        elif breaker.state is not BreakerState.OPEN:
            (breaker.succeeded if name == "ok" else breaker.failed)(now)
    now += RULE.longest_pause
    breaker.tick(now)
    breaker.succeeded(now)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"share": 1.5}, {"window": 0}, {"longest_pause": 0.5}]
)
def test_a_rule_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    """The message names the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BreakerRule(**wrong)  # type: ignore[arg-type]


@given(st.lists(st.booleans(), max_size=300))
def test_resends_stay_within_reserve_and_share(events: list[bool]) -> None:
    """However requests and failures mix: resends ≤ reserve + share × requests."""
    budget = ResendBudget(0.2, 3.0)
    requests = resends = 0
    for is_request in events:
        if is_request:
            budget.earn()
            requests += 1
        elif budget.spend():
            resends += 1
    assert resends <= 3 + 0.2 * requests + 1e-9
