"""When a dead engine is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError
from sage.inference.engines.restarts import RestartRule, RestartState

RULE = RestartRule(first_delay=1, longest_delay=5, jitter=0, window=100, most_deaths=5)


def test_delays_double_up_to_the_longest_and_then_it_is_given_up() -> None:
    """Deaths close together mean something a restart does not mend."""
    state = RestartState(RULE, seed=0)
    assert [state.died(float(now)) for now in range(5)] == [1, 2, 4, 5, None]


def test_old_deaths_are_forgotten() -> None:
    """An engine that dies once a week is restarted for ever."""
    state = RestartState(RULE, seed=0)
    assert [state.died(now * 101.0) for now in range(10)] == [1] * 10


@given(seed=st.integers(), gaps=st.lists(st.floats(0, 200), min_size=1, max_size=20))
def test_the_same_deaths_give_the_same_delays_within_bounds(seed: int, gaps: list[float]) -> None:
    """Deterministic for a seed; never below the first delay nor above the longest plus jitter."""
    rule = RestartRule()
    first, second = RestartState(rule, seed), RestartState(rule, seed)
    now = 0.0
    for gap in gaps:
        now += gap
        delay = first.died(now)
        assert delay == second.died(now)
        if delay is None:
            return
        assert rule.first_delay <= delay <= rule.longest_delay * (1 + rule.jitter)


def test_a_rule_that_makes_no_sense_is_refused() -> None:
    """The values are in the message."""
    with pytest.raises(ConfigError, match=r"2, 1"):
        RestartRule(first_delay=2, longest_delay=1)
    with pytest.raises(ConfigError, match="most_deaths"):
        RestartRule(most_deaths=0)
