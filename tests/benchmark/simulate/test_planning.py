"""How many engines a load needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.planning import Try, plan_fleet
from sage.errors import ConfigError
from sage.inference.scheduling.request import Kind

_LOAD = LLMBenchmarkConfig(
    requests=600, rate=80.0, prompt_tokens="lognormal:1000:0.8", output_tokens="lognormal:150:0.6"
)


def test_the_fewest_engines_that_suffice() -> None:
    """One less does not; every number that was tried is told of."""
    told: list[Try] = []
    plan = plan_fleet(_LOAD, SimulationConfig(), attainment=0.95, on_try=told.append)
    assert plan.engines is not None
    shares = {one.engines: one.attainment for one in plan.tries}
    assert shares[plan.engines] >= 0.95 > shares[plan.engines - 1]
    assert sorted(told, key=lambda one: one.engines) == list(plan.tries)
    assert 2 <= plan.engines <= 6


def test_an_slo_out_of_reach() -> None:
    """No number of engines answers in a millisecond: the most allowed is the last tried."""
    hard = replace(_LOAD, requests=50, slo=replace(_LOAD.slo, ttft_ms=1.0))
    plan = plan_fleet(hard, SimulationConfig(), most=5)
    assert plan.engines is None
    assert [one.engines for one in plan.tries] == [1, 2, 4, 5]


def test_embedding_engines_are_planned_too() -> None:
    """By the requests that go to them; the number for chat is that of the chat requests alone."""
    mixed = HybridBenchmarkConfig(
        requests=600, rate=120.0, llm_ratio=0.5, embedding_batch="uniform:1:16"
    )
    both = SimulationConfig(embedding_profile="minilm-onnx-cpu")
    plans = {kind: plan_fleet(mixed, both, kind=kind) for kind in Kind}
    for kind, plan in plans.items():
        shares = {one.engines: one.attainment for one in plan.tries}
        assert plan.engines is not None, kind
        assert shares[plan.engines] >= 0.95
        assert plan.engines == 1 or shares[plan.engines - 1] < 0.95
    embedding = plans[Kind.EMBEDDING].engines
    assert embedding is not None
    assert embedding > 1
    only = replace(both, profile=None)
    assert plan_fleet(mixed, only, kind=Kind.EMBEDDING).tries == plans[Kind.EMBEDDING].tries
    with pytest.raises(ConfigError, match="no requests for engines of kind embedding"):
        plan_fleet(_LOAD, both, kind=Kind.EMBEDDING)


def test_wrong_questions_are_refused() -> None:
    """A share above 1, no engines at all."""
    with pytest.raises(ConfigError, match=r"attainment is 1\.5"):
        plan_fleet(_LOAD, SimulationConfig(), attainment=1.5)
    with pytest.raises(ConfigError, match="most engines is 0"):
        plan_fleet(_LOAD, SimulationConfig(), most=0)
    alone = SimulationConfig(profile=None, embedding_profile="minilm-onnx-cpu")
    with pytest.raises(ConfigError, match="name their profile"):
        plan_fleet(_LOAD, alone)
