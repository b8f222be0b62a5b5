"""The simulated gateway: what it tells the scheduler, and what becomes of each request."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import RequestClass, TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.simulate.bench import SimulatedBench, simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.llm_engine import LlmEngine
from sage.benchmark.simulate.simulation import Simulation
from sage.benchmark.slo import LLMSLOConfig
from sage.benchmark.summary import summarise
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.strategies import StrategyAdapter

_SIZES = {"prompt_tokens": "lognormal:1000:0.8", "output_tokens": "lognormal:150:0.6"}
_BUSY = LLMBenchmarkConfig(requests=400, rate=60.0, **_SIZES)
_MIXED = HybridBenchmarkConfig(requests=400, rate=80.0, embedding_batch="uniform:1:20", **_SIZES)
_ONE = SimulationConfig(engines=1)


def _fingerprint(result: LoadResult) -> str:
    rows = [
        (
            e.request.index,
            e.intended.hex(),
            e.ended.hex(),
            [moment.hex() for moment in e.token_times],
            e.instance,
            e.failure,
        )
        for e in result.exchanges
    ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@pytest.mark.parametrize("policy", [strategy.name for strategy in StrategyAdapter.list()])
def test_the_same_seed_gives_the_same_result_to_the_bit(policy: str) -> None:
    """Under every policy, with LLM and embedding requests; another seed gives another."""
    fleet = SimulationConfig(
        engines=2, embedding_profile="minilm-onnx-cpu", embedding_engines=2, policy=policy
    )
    first, again, other = (
        _fingerprint(simulate(plan_requests(config), config, fleet))
        for config in (_MIXED, _MIXED, replace(_MIXED, seed=1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("policy", ["fifo", "hybrid_slo", "adaptive"])
def test_every_request_ends_once_and_the_schedulers_sums_agree(policy: str) -> None:
    """In overload, with rejections and clients that leave."""
    config = replace(_MIXED, rate=400.0, timeout_s=3.0)
    fleet = SimulationConfig(
        engines=1, max_requests=80, embedding_profile="minilm-onnx-cpu", policy=policy
    )
    scheduler = Scheduler(policy, max_queued=60)
    world = Simulation(scheduler, fleet.build(), lag=fleet.lag, timeout_s=3.0)
    requests = plan_requests(config)
    result = world.run(requests)
    assert [e.request.index for e in result.exchanges] == list(range(400))
    assert all(e.ended >= e.intended for e in result.exchanges)
    failures = Counter(e.failure for e in result.exchanges)
    assert failures[Failure.REJECTED] > 0
    assert failures[Failure.TIMEOUT] > 0
    assert scheduler.invariants() == []
    counts = scheduler.counts()
    assert (counts.submitted, counts.queued, counts.in_flight) == (400, 0, 0)
    assert counts.rejected == failures[Failure.REJECTED]
    # A client may have left while its answer, or its rejection, was on the way.
    assert counts.done >= failures[None]
    assert counts.cancelled <= failures[Failure.TIMEOUT]


def test_times_at_the_client_count_the_network() -> None:
    """Four hops lie between a client's request and its first token."""
    requests = [PlannedRequest(0, 1.0, TrafficClass.CHAT, 100, 5)]
    near, far = (
        simulate(requests, LLMBenchmarkConfig(), replace(_ONE, network_ms=ms)).exchanges[0]
        for ms in (0.0, 10.0)
    )
    assert far.intended == near.intended == 1.0
    for place in (0, -1):
        assert far.token_times[place] - near.token_times[place] == pytest.approx(0.040)
    assert far.ended == pytest.approx(far.token_times[-1])
    assert (far.status, far.prompt_tokens, far.output_tokens) == (200, 100, 5)
    assert len(far.token_times) == 5


def test_answers_in_one_piece_come_at_their_end() -> None:
    """Without streaming there is one moment, and the scheduler sees no first token."""
    requests = [PlannedRequest(0, 0.0, TrafficClass.CHAT, 100, 50, stream=False)]
    exchange = simulate(requests, LLMBenchmarkConfig(), _ONE).exchanges[0]
    assert list(exchange.token_times) == [exchange.ended]


def test_a_closed_loop_keeps_its_users_busy() -> None:
    """So many are out at once, and each sends when its answer has come and it has thought."""
    config = replace(_BUSY, arrival=ArrivalPattern.CLOSED, users=7, think_s=0.5, requests=70)
    exchanges = simulate(plan_requests(config), config, _ONE).exchanges
    assert len(exchanges) == 70
    starts = sorted(e.intended for e in exchanges)
    ends = sorted(e.ended for e in exchanges)
    assert starts[:7] == [0.0] * 7
    assert starts[7:] == pytest.approx([end + 0.5 for end in ends[:63]])


def test_a_request_refused_at_the_very_beginning_has_ended() -> None:
    """At the moment 0, without a network: it is a failure, not one that was broken off."""
    config = replace(_BUSY, arrival=ArrivalPattern.CLOSED, users=5, requests=5)
    tight = replace(_ONE, network_ms=0.0, max_requests=1, max_queued=1)
    result = simulate(plan_requests(config), config, tight)
    assert sum(e.failure is Failure.REJECTED for e in result.exchanges) == 3
    assert not any(e.interrupted for e in result.exchanges)


def test_waiting_for_a_slot_counts_as_latency() -> None:
    """One out at once: the second's time counts from when it should have left."""
    requests = [PlannedRequest(n, 0.0, TrafficClass.CHAT, 100, 100) for n in range(2)]
    config = LLMBenchmarkConfig(max_in_flight=1)
    first, second = simulate(requests, config, _ONE).exchanges
    assert second.intended == 0.0
    assert second.sent == pytest.approx(first.ended)
    assert second.ended == pytest.approx(2 * first.ended)


def test_what_an_engine_refuses_is_the_clients_error() -> None:
    """Longer than the model's longest request; with room for it the same is served."""
    requests = [PlannedRequest(0, 0.0, TrafficClass.CHAT, 40_000, 5)]
    refused = simulate(requests, LLMBenchmarkConfig(), _ONE).exchanges[0]
    assert refused.failure is Failure.CLIENT_ERROR
    assert "max_model_len of 32768" in refused.detail
    served = simulate(requests, LLMBenchmarkConfig(), replace(_ONE, max_model_len=0))
    assert served.exchanges[0].failure is None


def test_requests_that_nothing_serves_are_refused() -> None:
    """As the scheduler refuses them: there is no such model."""
    requests = plan_requests(_MIXED)
    result = simulate(requests, _MIXED, _ONE)
    for exchange in result.exchanges:
        chat = exchange.request.traffic is TrafficClass.CHAT
        assert exchange.failure is (None if chat else Failure.CLIENT_ERROR)


def test_shared_beginnings_are_served_sooner() -> None:
    """Blocks of a trace reach the engine's cache."""
    requests = [
        PlannedRequest(n, 2.0 * n, TrafficClass.CHAT, 4000, 5, blocks=(1, 2, 3, 4, 5, 6, 7, 8))
        for n in range(2)
    ]
    for caching in (True, False):
        fleet = replace(_ONE, prefix_caching=caching)
        first, second = simulate(requests, LLMBenchmarkConfig(), fleet).exchanges
        cold, warm = (e.token_times[0] - e.intended for e in (first, second))
        assert (warm < 0.4 * cold) is caching


def test_classes_are_judged_by_their_own_objectives() -> None:
    """The results name them, and the sums agree."""
    easy = RequestClass(name="easy", share=3.0, ttft_ms=100_000.0)
    hard = RequestClass(name="hard", ttft_ms=1.0)
    config = replace(_BUSY, classes=(easy, hard))
    summary = summarise(simulate(plan_requests(config), config, _ONE), config)
    found = {one.name: one for one in summary.classes}
    assert list(found) == ["easy", "hard", "all"]
    assert (found["easy"].attainment, found["hard"].attainment) == (1.0, 0.0)
    assert found["easy"].issued + found["hard"].issued == found["all"].issued == 400
    assert 60 < found["hard"].issued < 140


def test_the_scheduler_is_told_what_a_class_asks_for() -> None:
    """Of two that wait, the one of the urgent class goes first under `priority`."""
    fleet = replace(_ONE, policy="priority", max_requests=1)
    requests = [
        PlannedRequest(0, 0.0, TrafficClass.CHAT, 100, 50),
        PlannedRequest(1, 0.001, TrafficClass.CHAT, 100, 50, cls="later"),
        PlannedRequest(2, 0.002, TrafficClass.CHAT, 100, 50, cls="sooner", priority=1),
    ]
    ended = {e.request.cls: e.ended for e in simulate(requests, _BUSY, fleet).exchanges}
    assert ended["sooner"] < ended["later"]


def test_ctrl_c_leaves_what_has_ended() -> None:
    """The others are unsent or interrupted, and the sums agree."""
    answers = 0

    def interrupt(_: Exchange) -> None:
        nonlocal answers
        answers += 1
        if answers == 20:
            raise KeyboardInterrupt

    run = SimulatedBench(_BUSY, _ONE, on_answer=interrupt).run()
    counts = run.summary.counts
    assert not run.complete
    assert counts.judged == 20
    assert counts.interrupted > 0
    assert counts.unsent > 0
    assert counts.judged + counts.interrupted + counts.unsent == counts.planned == 400


def test_more_engines_serve_a_busy_load_better() -> None:
    """The run's figures are those of live runs."""
    shares = []
    for engines in (1, 4):
        config = replace(_BUSY, policies=("hybrid_slo",))
        bench = SimulatedBench(config, SimulationConfig(engines=engines))
        run = bench.run()
        assert run.complete
        assert run.policy == "hybrid_slo"
        assert run.summary == summarise(run.load, config, bench.found.models)
        shares.append(run.summary.overall.attainment)
    assert shares[0] < 0.9 < shares[1]


def test_an_engine_that_cannot_preempt_is_given_no_more_than_it_holds(tmp_path: Path) -> None:
    """As llama.cpp with a pool of 8,192 tokens and eight slots, whose steps are not overlapped."""
    data = {
        "scheduling": {"asynchronous": False, "preempts": False, "prefix_caching": False},
        "f_capacity": {
            "num_gpu_blocks": 8192,
            "block_size": 1,
            "max_num_seqs": 8,
            "max_num_batched_tokens": 2048,
            "max_model_len": 4096,
        },
        "step_model_for_a_simulator": {
            "params_ms": {"b0": 3.2, "b1": 3.6, "b2": 0.0, "p0": 3.0, "c1": 1.0}
        },
    }
    path = tmp_path / "llama.json"
    path.write_text(json.dumps(data))
    engines = SimulationConfig(profile=str(path), engines=1).build()
    one = engines["llm-0"]
    assert isinstance(one, LlmEngine)
    assert (one.spec.max_requests, one.spec.max_tokens) == (8, 8192)
    config = LLMBenchmarkConfig(
        requests=60,
        rate=50.0,
        prompt_tokens="uniform:100:3000",
        output_tokens="uniform:10:1000",
        slo=LLMSLOConfig(None, None, None),
    )
    result = Simulation(Scheduler("hybrid_slo"), engines).run(plan_requests(config))
    assert all(e.failure is None for e in result.exchanges)
    assert one.preemptions == 0
    # 147 tokens/s for one request, 249 for eight.
    alone = SimulationConfig(profile=str(path), engines=1, network_ms=0)
    for users, speed in ((1, 147), (8, 249)):
        requests = [PlannedRequest(n, 0.0, TrafficClass.CHAT, 1, 200) for n in range(users)]
        closed = replace(config, arrival=ArrivalPattern.CLOSED, users=users)
        exchanges = simulate(requests, closed, alone).exchanges
        assert users * 200 / max(e.ended for e in exchanges) == pytest.approx(speed, rel=0.02)


def test_wrong_settings_are_refused() -> None:
    """With the value, or the nearest name."""
    with pytest.raises(ConfigError, match="engines is 0"):
        SimulationConfig(engines=0)
    with pytest.raises(ConfigError, match="network_ms is -1"):
        SimulationConfig(network_ms=-1)
    with pytest.raises(ConfigError, match="nothing to simulate"):
        SimulationConfig(profile=None)
    with pytest.raises(ConfigError, match="is of an LLM engine"):
        SimulationConfig(embedding_profile="h100-vllm-qwen2.5-7b").build()
    with pytest.raises(ConfigError, match="is of an embedding engine"):
        SimulationConfig(profile="minilm-onnx-cpu").build()
    with pytest.raises(UnknownKeyError, match="fifo"):
        simulate([], _BUSY, replace(_ONE, policy="fifoo"))
