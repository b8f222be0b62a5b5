"""The simulator against live engines: calibrated, then the same requests live and simulated.

For each engine: `calibrate` measures it; the model's own closed loop says what it can carry; then
an open loop of seeded requests comes at two shares of that, live and simulated in turn, several
times, so that the noise of the machine is seen beside the model's error. The simulated requests are
the live ones, their prompts as long as the engine counted them. These runs choose no parameter.

    python benchmarks/validation.py                 llama.cpp, and vLLM where there is `.venv-vllm`
    python benchmarks/validation.py --vllm-python PATH
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from _engines import ROOT, llama_cpp, vllm_cpu
from _report import Report

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.calibrate.document import encode_profile, llm_document
from sage.benchmark.calibrate.engine_facts import read_facts
from sage.benchmark.calibrate.live_player import LivePlayer
from sage.benchmark.calibrate.llm import calibrate_llm
from sage.benchmark.calibrate.played import Played
from sage.benchmark.calibrate.probes import ProbePlan
from sage.benchmark.calibrate.step_samples import steps_of
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_times import StepClock
from sage.benchmark.target import Found, find_target
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.inference.gateway.target import parse_target

BAR = 0.15
SHARES = (0.6, 0.9)
BARRED = ("ttft_p50_ms", "output_tokens_per_s")
Start = Callable[[], AbstractContextManager[str]]


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    seconds: float
    rounds: int
    repeats: int
    longest: int
    slots: int
    seed: int


@dataclass(frozen=True)
class Engine:
    """A live engine, what was measured of it, and how it is simulated."""

    found: Found
    profile: LlmProfile
    simulation: SimulationConfig


def workload(plan: Plan, **changes: Any) -> LLMBenchmarkConfig:
    """Return chat of mixed lengths, within what was calibrated."""
    config = LLMBenchmarkConfig(
        seed=plan.seed,
        prompt_tokens=f"uniform:16:{plan.longest}",
        output_tokens="uniform:8:64",
        ignore_eos=True,
        timeout_s=600.0,
    )
    return replace(config, **changes)


def figures(exchanges: Sequence[Exchange]) -> dict[str, float]:
    """Return what is compared; throughput from the first that was due to the last end."""
    failed = [exchange.detail for exchange in exchanges if exchange.failure is not None]
    if failed:
        print(f"  {len(failed)} of {len(exchanges)} requests failed, the first with: {failed[0]}")
    if len(failed) == len(exchanges):
        raise SystemExit("no request was answered; see above")
    exchanges = [exchange for exchange in exchanges if exchange.failure is None]
    began = min(exchange.intended for exchange in exchanges)
    seconds = max(exchange.ended for exchange in exchanges) - began
    gaps = [
        (e.token_times[-1] - e.token_times[0]) / (len(e.token_times) - 1)
        for e in exchanges
        if len(e.token_times) > 1
    ]
    return {
        "ttft_p50_ms": 1000 * statistics.median(e.token_times[0] - e.intended for e in exchanges),
        "tpot_p50_ms": 1000 * statistics.median(gaps),
        "e2e_p50_ms": 1000 * statistics.median(e.ended - e.intended for e in exchanges),
        "output_tokens_per_s": sum(len(e.token_times) for e in exchanges) / seconds,
        "requests_per_s": len(exchanges) / seconds,
        "failed": len(failed),
    }


def live(found: Found, requests: Sequence[PlannedRequest]) -> LoadResult:
    """Send the requests to the engine itself."""
    target = parse_target(found.url)
    writer = RequestWriter(target, found.models, built_in_text(), ignore_eos=True)
    return asyncio.run(Load(target, writer, timeout_s=600.0).run(requests))


def step_ratio(profile: LlmProfile, exchanges: Sequence[Exchange]) -> float:
    """Return modelled over measured time of the steps that were seen live, the median.

    Where it is far from 1, the machine was not as fast as when it was calibrated; what is left of
    the error is the model's, of how requests share steps.
    """
    played = [
        Played(e.sent, e.prompt_tokens, e.cached_tokens, e.token_times)
        for e in exchanges
        if e.failure is None and e.prompt_tokens
    ]
    clock = StepClock(profile.times, profile.capacity.max_num_seqs)
    modelled = [
        (
            clock.prefill(step.new, step.pairs, step.begun, step.batch, round(step.context))
            if step.new
            else clock.decode(step.batch, round(step.context))
        )
        / (step.ms / 1000)
        for step in steps_of(played, budget=profile.capacity.max_num_batched_tokens)
        if not step.idle
    ]
    return statistics.median(modelled)


def capacity(plan: Plan, simulation: SimulationConfig) -> float:
    """Return the requests/s of the model with all slots taken all the time."""
    config = workload(plan, arrival=ArrivalPattern.CLOSED, users=plan.slots, requests=400)
    return figures(simulate(plan_requests(config), config, simulation).exchanges)["requests_per_s"]


def as_counted(
    requests: Sequence[PlannedRequest], exchanges: Sequence[Exchange]
) -> list[PlannedRequest]:
    """Return the requests with prompts as long as the engine counted them."""
    counted = {exchange.request.index: exchange.prompt_tokens for exchange in exchanges}
    return [
        replace(request, prompt_tokens=counted[request.index] or request.prompt_tokens)
        for request in requests
    ]


def compare_at(share: float, rate: float, engine: Engine, plan: Plan) -> dict[str, Any]:
    """Run live and simulated in turn; return the figures of both and their ratios.

    Each run has a seed of its own: the engine would know another run's prompts again.
    """
    first = plan.seed + SHARES.index(share) * plan.rounds
    seen: list[dict[str, float]] = []
    simulated: list[dict[str, float]] = []
    steps: list[float] = []
    count = max(30, round(rate * plan.seconds))
    for number in range(plan.rounds):
        config = workload(plan, seed=first + number, requests=count, rate=rate)
        requests = plan_requests(config)
        result = live(engine.found, requests)
        seen.append(figures(result.exchanges))
        steps.append(step_ratio(engine.profile, result.exchanges))
        same = as_counted(requests, result.exchanges)
        simulated.append(figures(simulate(same, config, engine.simulation).exchanges))
    ratios = {
        name: [s[name] / r[name] for s, r in zip(simulated, seen, strict=True)]
        for name in seen[0]
        if name != "failed"
    }
    return {
        "share": share,
        "rate": rate,
        "requests": count,
        "live": seen,
        "simulated": simulated,
        "ratios": ratios,
        "step_ratios": steps,
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        # A run with a failure is not the same load, so it proves nothing.
        "within": all(abs(statistics.median(ratios[name]) - 1) <= BAR for name in BARRED)
        and not any(run["failed"] for run in (*seen, *simulated)),
    }


def validate(name: str, start: Start, plan: Plan, report: Report) -> bool:
    """Calibrate an engine, run it live and simulated, and say whether they agree."""
    with start() as url, tempfile.TemporaryDirectory() as folder:
        found = find_target(LLMBenchmarkConfig(url=url))
        limits = {"max_num_seqs": plan.slots} if name == "vllm" else {}
        facts = read_facts(found, limits)
        player = LivePlayer(found, built_in_text(), timeout_s=600.0)
        probes = ProbePlan(longest=plan.longest, repeats=plan.repeats)
        calibrated = calibrate_llm(player, facts, probes, name=name)
        for error in calibrated.errors:
            print(
                f"  {error.what}: median {error.median:+.1%}, worst {error.worst:+.1%}, "
                f"repeats {error.spread:.1%} apart",
                flush=True,
            )
        path = Path(folder) / f"{name}.json"
        document = llm_document(calibrated, facts, found, "benchmarks/validation.py")
        path.write_bytes(encode_profile(document))
        simulation = SimulationConfig(profile=str(path), engines=1, network_ms=0.0)
        engine = Engine(found, calibrated.profile, simulation)
        most = capacity(plan, simulation)
        good = True
        for share in SHARES:
            row = compare_at(share, share * most, engine, plan)
            good &= bool(row["within"])
            low, high = min(row["ratios"]["ttft_p50_ms"]), max(row["ratios"]["ttft_p50_ms"])
            report.add(
                f"{name} at {share:g}",
                row,
                f"{name} at {share:g} of capacity ({row['rate']:.2f}/s), simulated / live: "
                f"TTFT P50 {row['ratio']['ttft_p50_ms']:.2f} ({low:.2f} to {high:.2f}), TPOT P50 "
                f"{row['ratio']['tpot_p50_ms']:.2f}, throughput "
                f"{row['ratio']['output_tokens_per_s']:.2f}, the steps themselves "
                f"{statistics.median(row['step_ratios']):.2f}: "
                f"{'within' if row['within'] else 'NOT within'} {BAR:.0%}",
            )
        report.add(
            f"{name} profile",
            {
                "params_ms": document["step_model_for_a_simulator"]["params_ms"],
                "scheduling": document["scheduling"],
                "capacity": asdict(facts.capacity),
                "assumed": list(facts.assumed),
                "errors": document["errors"],
                "capacity_requests_per_s": most,
            },
            f"{name}: {most:.2f} requests/s with all {plan.slots} slots taken, by the model",
        )
    return good


def main() -> None:
    """Validate each engine that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", type=Path, default=ROOT / ".venv-vllm/bin/python")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each live run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of each probe")
    parser.add_argument("--longest", type=int, default=128, help="prompt, in tokens")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    plan = Plan(
        seconds=options.seconds,
        rounds=options.rounds,
        repeats=options.repeats,
        longest=options.longest,
        slots=options.slots,
        seed=options.seed,
    )
    report = Report("validation", ("xllamacpp", "scipy", "numpy"))
    engines: dict[str, Start] = {"llama.cpp": partial(llama_cpp, plan.slots)}
    if options.vllm_python.exists():
        engines["vllm"] = partial(vllm_cpu, options.vllm_python, plan.slots)
    else:
        print(f"vLLM is left out: there is no {options.vllm_python} (`make test-vllm` makes one)")
    good = [validate(name, start, plan, report) for name, start in engines.items()]
    report.write()
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
