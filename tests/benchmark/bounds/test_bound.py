"""The bound on goodput."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.benchmark.bounds import bound
from sage.benchmark.classes import TrafficClass
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.workload import PlannedRequest
from sage.inference.scheduling.slo import SLO
from tests.benchmark.bounds.support import CONFIG, good, loads, small_simulation

POLICIES = ("fifo", "hybrid_slo", "lmetric", "edf_ttl")


@settings(max_examples=60, deadline=None)
@given(
    requests=loads(),
    policy=st.sampled_from(POLICIES),
    profile=st.sampled_from(["roomy", "cramped", "uneven"]),
    engines=st.integers(1, 2),
)
def test_no_policy_gets_more(
    profiles: dict[str, str],
    requests: list[PlannedRequest],
    policy: str,
    profile: str,
    engines: int,
) -> None:
    """Whatever the load, the engines and the policy, no more is in time than the bound."""
    simulation = replace(small_simulation(profiles, profile, engines), policy=policy)
    assert good(requests, simulation, CONFIG) <= bound(requests, simulation).good


def _chat(index: int, at: float, ttft_s: float, prompt: int = 1000) -> PlannedRequest:
    return PlannedRequest(index, at, TrafficClass.CHAT, prompt, 1, slo=SLO(ttft_s=ttft_s))


def test_a_burst_is_bounded_by_what_fits_its_window() -> None:
    """Prompts of 20 ms each, all due within a second, on one engine: at most 50 are in time."""
    requests = [_chat(i, 0.0, 1.0) for i in range(200)]
    one = bound(requests, SimulationConfig(engines=1))
    two = bound(requests, SimulationConfig(engines=2))
    assert 40 <= one.good <= 50
    assert 80 <= two.good <= 100
    assert one.attainment == one.good / 200


def test_the_bound_is_near_what_fifo_reaches_where_order_does_not_matter() -> None:
    """Alike requests at once: first come, first served is the best, and the bound is close."""
    requests = [_chat(i, 0.0, 1.0) for i in range(200)]
    simulation = SimulationConfig(engines=1)
    reached = good(requests, simulation, CONFIG)
    assert 0.8 * bound(requests, simulation).good <= reached


def test_what_cannot_be_in_time_alone_is_not_counted() -> None:
    """A prompt that takes longer than its TTFT allows on an idle engine is no goodput."""
    requests = [_chat(0, 0.0, 1.0), _chat(1, 10.0, 0.02), _chat(2, 20.0, 1.0, prompt=90_000)]
    assert bound(requests, SimulationConfig(engines=4)).good == 1


def test_a_beginning_that_prompts_share_is_paid_once() -> None:
    """With equal blocks more fits the same second than with blocks of their own."""
    alike = [replace(_chat(i, 0.0, 0.5, prompt=1100), blocks=(1, 2)) for i in range(300)]
    unlike = [replace(r, blocks=(2 * r.index, 2 * r.index + 1)) for r in alike]
    simulation = SimulationConfig(engines=1)
    assert bound(alike, simulation).good > 5 * bound(unlike, simulation).good


def test_what_another_brings_too_late_is_no_cache() -> None:
    """A long prompt needs its beginning computed by someone who is there before it is due."""
    long = replace(_chat(1, 5.0, 0.3, prompt=20_000), blocks=tuple(range(39)))
    for at, expected in ((4.9, 2), (5.1, 2), (5.4, 1)):
        other = replace(_chat(0, at, 9.0, prompt=20_000), blocks=tuple(range(39)))
        pair = sorted([long, other], key=lambda r: r.at)
        assert bound(pair, SimulationConfig(engines=2)).good == expected


def test_classes_can_weigh_more() -> None:
    """With weights the bound is on the sum of weights, by the best choice of requests."""
    requests = [replace(_chat(i, 0.0, 0.5), cls="ab"[i % 2]) for i in range(100)]
    plain = bound(requests, SimulationConfig(engines=1)).good
    weighed = bound(requests, SimulationConfig(engines=1), weights={"b": 3.0})
    assert weighed.issued == 200
    assert weighed.good == pytest.approx(3 * plain, rel=0.1)


def test_without_limits_all_is_in_time() -> None:
    """Requests that ask for nothing are good whenever they end."""
    requests = [replace(_chat(i, 0.0, 1.0), slo=None) for i in range(50)]
    assert bound(requests, SimulationConfig(engines=1)).good == 50
    assert bound([], SimulationConfig()).attainment == 1.0


def test_without_scipy_one_line_says_how_to_get_it() -> None:
    """The core installs without SciPy; asking for a bound then names the extra."""
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from sage.benchmark.bounds import bound\n"
        "from sage.benchmark.simulate.config import SimulationConfig\n"
        "from sage.benchmark.workload import PlannedRequest, TrafficClass\n"
        "from sage.errors import ConfigError\n"
        "try: bound([PlannedRequest(0, 0.0, TrafficClass.CHAT, 1, 1)], SimulationConfig())\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'sage-stack[bench]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
