"""What a sweep varies, put into a configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import INTERACTIVE_AND_BULK, RequestClass, TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.sweep.axis import AXES, find_axis
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError, UnknownKeyError


def test_a_rate_keeps_the_requests_and_moves_their_times() -> None:
    """The same seed at twice the rate: the same prompts, in half the time, twice as many."""
    config = LLMBenchmarkConfig(seed=3)
    slow, fast = (plan_requests(AXES["rate"].at(config, rate, seconds=10)) for rate in (5, 10))
    assert (len(slow), len(fast)) == (50, 100)
    for one, other in zip(slow, fast, strict=False):
        assert one.at == pytest.approx(2 * other.at)
        assert replace(one, at=0.0) == replace(other, at=0.0)


def test_sessions_bring_all_their_turns() -> None:
    """A rate counts sessions, so a run of the same seconds has as many turns as they have."""
    config = LLMBenchmarkConfig(turns="uniform:2:6")
    assert AXES["rate"].at(config, 5, seconds=10).requests == 200


def test_users_make_a_closed_loop() -> None:
    """Whole ones only."""
    made = AXES["users"].at(LLMBenchmarkConfig(), 12)
    assert (made.arrival, made.users) == (ArrivalPattern.CLOSED, 12)
    with pytest.raises(ConfigError, match="must be a whole number"):
        AXES["users"].at(LLMBenchmarkConfig(), 2.5)


def test_prompt_tokens() -> None:
    """Every prompt has just so many."""
    made = AXES["prompt_tokens"].at(LLMBenchmarkConfig(), 512)
    assert {request.prompt_tokens for request in plan_requests(made)} == {512}


def test_llm_ratio_divides_the_classes_of_each_traffic_as_before() -> None:
    """Interactive and bulk chat stay 7 to 3 whatever part of the whole is chat."""
    embedding = RequestClass(name="embedding", traffic=TrafficClass.EMBEDDING)
    config = HybridBenchmarkConfig(classes=(*INTERACTIVE_AND_BULK, embedding))
    made = AXES["llm_ratio"].at(config, 0.2)
    assert [one.share for one in made.classes] == pytest.approx([0.14, 0.06, 0.8])
    assert AXES["llm_ratio"].at(HybridBenchmarkConfig(), 0.2).request_classes()[0].share == 0.2


_TRACE = LLMBenchmarkConfig(trace="t.csv")
_OWN = LLMBenchmarkConfig(classes=(RequestClass(name="long", prompt_tokens="9"),))


@pytest.mark.parametrize(
    ("axis", "config", "said"),
    [
        ("rate", _TRACE, "--over time_scale"),
        ("rate", LLMBenchmarkConfig(arrival=ArrivalPattern.RAMP), "does not hold one rate"),
        ("time_scale", LLMBenchmarkConfig(), "name one with --trace"),
        ("prompt_tokens", _TRACE, "how long its prompts are"),
        ("prompt_tokens", _OWN, "class long says its own"),
        ("llm_ratio", LLMBenchmarkConfig(), "--mode hybrid"),
        ("llm_ratio", HybridBenchmarkConfig(classes=INTERACTIVE_AND_BULK), "no class is of emb"),
    ],
)
def test_an_axis_that_the_workload_has_no_use_for(
    axis: str, config: LLMBenchmarkConfig, said: str
) -> None:
    """Is refused, saying what to do."""
    with pytest.raises(ConfigError, match=said):
        AXES[axis].at(config, 0.5 if axis == "llm_ratio" else 1)


def test_an_unknown_axis_names_the_nearest() -> None:
    """As an unknown key does."""
    with pytest.raises(UnknownKeyError, match="users"):
        find_axis("user")
