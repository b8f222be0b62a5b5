"""The simulator against live engines: calibrated, then the same requests live and simulated.

For each engine: `calibrate`'s probes measure it; the model's own closed loop says what it can
carry; then an open loop of seeded requests comes at two shares of that, and the probes again,
several times, so that a slow minute of the machine falls on both and its noise is seen beside the
model's error. The simulated requests are the live ones, their prompts as long as the engine counted
them. The live runs choose no parameter.

    python benchmarks/validation.py                 llama.cpp, and vLLM where there is `.venv-vllm`
    python benchmarks/validation.py --vllm-python PATH
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from _engines import ROOT, llama_cpp, vllm_cpu
from _live_runs import LiveRun, as_counted, figures, live, step_ratio
from _report import Report

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.calibrate.document import encode_profile, llm_document
from sage.benchmark.calibrate.engine_facts import read_facts
from sage.benchmark.calibrate.live_player import LivePlayer
from sage.benchmark.calibrate.llm import Calibrated, fit_takes
from sage.benchmark.calibrate.probes import ProbePlan, Probing, Take
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.prompts import built_in_text
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.target import Found, find_target
from sage.benchmark.workload import plan_requests

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


def capacity(plan: Plan, simulation: SimulationConfig) -> float:
    """Return the requests/s of the model with all slots taken all the time."""
    config = workload(plan, arrival=ArrivalPattern.CLOSED, users=plan.slots, requests=400)
    return figures(simulate(plan_requests(config), config, simulation).exchanges)["requests_per_s"]


def compared(
    share: float, rate: float, runs: Sequence[LiveRun], simulation: SimulationConfig, plan: Plan
) -> dict[str, Any]:
    """Simulate what was run live; return the figures of both and their ratios."""
    seen = [figures(run.result.exchanges) for run in runs]
    simulated = [
        figures(
            simulate(
                as_counted(run.requests, run.result.exchanges), workload(plan), simulation
            ).exchanges
        )
        for run in runs
    ]
    profile, _ = simulation.profiles()
    assert profile is not None
    ratios = {
        name: [s[name] / r[name] for s, r in zip(simulated, seen, strict=True)]
        for name in seen[0]
        if name != "failed"
    }
    return {
        "share": share,
        "rate": rate,
        "requests": len(runs[0].requests),
        "live": seen,
        "simulated": simulated,
        "ratios": ratios,
        "step_ratios": [step_ratio(profile, run.result.exchanges) for run in runs],
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        # A run with a failure is not the same load, so it proves nothing.
        "within": all(abs(statistics.median(ratios[name]) - 1) <= BAR for name in BARRED)
        and not any(run["failed"] for run in (*seen, *simulated)),
    }


def told(name: str, row: dict[str, Any]) -> str:
    """Return what a row says, in a line."""
    low, high = min(row["ratios"]["ttft_p50_ms"]), max(row["ratios"]["ttft_p50_ms"])
    return (
        f"{name} at {row['share']:g} of capacity ({row['rate']:.2f}/s), simulated / live: "
        f"TTFT P50 {row['ratio']['ttft_p50_ms']:.2f} ({low:.2f} to {high:.2f}), TPOT P50 "
        f"{row['ratio']['tpot_p50_ms']:.2f}, throughput "
        f"{row['ratio']['output_tokens_per_s']:.2f}, the steps themselves "
        f"{statistics.median(row['step_ratios']):.2f}: "
        f"{'within' if row['within'] else 'NOT within'} {BAR:.0%}"
    )


class Validation:
    """Probes an engine and runs it live in turn, so that a slow minute falls on both.

    Args:
        name: of the engine.
        found: where it is.
        plan: how much is run.
        folder: for the profile.
    """

    def __init__(self, name: str, found: Found, plan: Plan, folder: Path) -> None:
        limits = {"max_num_seqs": plan.slots} if name == "vllm" else {}
        self._name = name
        self._found = found
        self._plan = plan
        self._path = folder / f"{name}.json"
        self._facts = read_facts(found, limits)
        self._player = LivePlayer(found, built_in_text(), timeout_s=600.0)
        probes = ProbePlan(longest=plan.longest, repeats=plan.repeats)
        self._probes = probes.within(self._facts.capacity)
        self._takes: list[Take] = []

    def run(self, report: Report) -> bool:
        """Measure, fit and simulate; return whether all agrees."""
        most = capacity(self._plan, self._profiled(self._probe()))
        runs: dict[float, list[LiveRun]] = {share: [] for share in SHARES}
        for _ in range(self._plan.rounds):
            for share in SHARES:
                # Prompts of an earlier run would be known to the engine.
                seed = self._plan.seed + sum(map(len, runs.values()))
                runs[share].append(self._live(share * most, seed))
            calibrated = self._probe()
        simulation = self._profiled(calibrated)
        good = True
        for share in SHARES:
            row = compared(share, share * most, runs[share], simulation, self._plan)
            good &= bool(row["within"])
            report.add(f"{self._name} at {share:g}", row, told(self._name, row))
        self._report(calibrated, most, report)
        return good

    def _probe(self) -> Calibrated:
        """Probe once more; return the fit to all probes so far."""
        budget = self._facts.capacity.max_num_batched_tokens
        self._takes += Probing(self._player, self._probes, budget=budget).run()
        return fit_takes(self._takes, self._facts, self._probes.batches, name=self._name)

    def _profiled(self, calibrated: Calibrated) -> SimulationConfig:
        """Write the profile down; return a simulation of it."""
        document = llm_document(calibrated, self._facts, self._found, "benchmarks/validation.py")
        self._path.write_bytes(encode_profile(document))
        return SimulationConfig(profile=str(self._path), engines=1, network_ms=0.0)

    def _live(self, rate: float, seed: int) -> LiveRun:
        count = max(30, round(rate * self._plan.seconds))
        requests = plan_requests(workload(self._plan, seed=seed, requests=count, rate=rate))
        return LiveRun(requests, live(self._found, requests))

    def _report(self, calibrated: Calibrated, most: float, report: Report) -> None:
        for error in calibrated.errors:
            print(
                f"  {error.what}: median {error.median:+.1%}, worst {error.worst:+.1%}, "
                f"repeats {error.spread:.1%} apart"
            )
        document = llm_document(calibrated, self._facts, self._found, "benchmarks/validation.py")
        report.add(
            f"{self._name} profile",
            {
                "params_ms": document["step_model_for_a_simulator"]["params_ms"],
                "scheduling": document["scheduling"],
                "capacity": asdict(self._facts.capacity),
                "assumed": list(self._facts.assumed),
                "errors": document["errors"],
                "capacity_requests_per_s": most,
            },
            f"{self._name}: {most:.2f} requests/s with all {self._plan.slots} slots taken, by the "
            "model",
        )


def validate(name: str, start: Start, plan: Plan, report: Report) -> bool:
    """Validate the simulator of one engine; return whether it agrees."""
    with start() as url, tempfile.TemporaryDirectory() as folder:
        found = find_target(LLMBenchmarkConfig(url=url))
        return Validation(name, found, plan, Path(folder)).run(report)


def main() -> None:
    """Validate each engine that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", type=Path, default=ROOT / ".venv-vllm/bin/python")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each live run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="of each probe, each time")
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
