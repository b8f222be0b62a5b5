"""The achievable reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.bounds import Reference, bound, reference
from sage.benchmark.classes import TrafficClass
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.workload import PlannedRequest
from sage.errors import ConfigError
from sage.inference.scheduling.slo import SLO
from tests.benchmark.bounds.support import CONFIG, good, loads, small_simulation


@settings(max_examples=15, deadline=None)
@given(requests=loads(most=15))
def test_it_lies_between_the_policy_and_the_bound(
    profiles: dict[str, str], requests: list[PlannedRequest]
) -> None:
    """The reference never gets less than the policy it starts from, nor more than the bound."""
    simulation = replace(small_simulation(profiles, "roomy", 1), policy="hybrid_slo")
    found = reference(requests, CONFIG, simulation, rounds=2)
    assert good(requests, simulation, CONFIG) <= found.good <= bound(requests, simulation).good


def _overload() -> list[PlannedRequest]:
    """Return prompts of which every third is long; all together take twice the time there is."""
    return [
        PlannedRequest(
            i,
            i * 0.02,
            TrafficClass.CHAT,
            6000 if i % 3 == 0 else 500,
            5,
            slo=SLO(ttft_s=0.5, tpot_s=0.2),
        )
        for i in range(300)
    ]


def test_in_overload_it_turns_the_long_ones_away() -> None:
    """Knowing all beforehand, it serves far more than fifo, and close to what the bound allows."""
    requests, simulation = _overload(), SimulationConfig(engines=1)
    found = reference(requests, CONFIG, simulation)
    assert found.good > 2 * good(requests, simulation, CONFIG)
    assert found.good > 0.85 * bound(requests, simulation).good
    assert found.attainment == found.good / 300
    prompts = [r.prompt_tokens for r in requests if r.index in found.admitted]
    assert prompts.count(500) > 5 * prompts.count(6000)


def test_the_same_seed_finds_the_same_plan() -> None:
    """Two searches with one seed go the same way."""
    requests, simulation = _overload()[:100], SimulationConfig(engines=1)
    tried: list[Reference] = []
    first = reference(requests, CONFIG, simulation, rounds=4, on_try=tried.append)
    assert first == reference(requests, CONFIG, simulation, rounds=4)
    assert first == tried[-1]
    assert [one.tries for one in tried] == list(range(1, first.tries + 1))


def test_without_overload_all_is_in_time_at_the_first_try() -> None:
    """When the policy itself answers all in time there is nothing to search."""
    requests = [replace(r, at=r.index * 1.0) for r in _overload()[:10]]
    found = reference(requests, CONFIG, SimulationConfig())
    assert (found.good, found.tries, found.dispatch) == (10, 1, "fifo")


def test_a_closed_loop_is_refused() -> None:
    """Where arrivals follow answers nobody can know them beforehand."""
    config = replace(CONFIG, arrival=ArrivalPattern.CLOSED, rate=None)
    with pytest.raises(ConfigError, match="open loop"):
        reference(_overload(), config, SimulationConfig())
