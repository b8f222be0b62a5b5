"""Results of real simulated runs, as their files hold them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

from sage.benchmark.classes import INTERACTIVE_AND_BULK
from sage.benchmark.comparison import compare_runs
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.report import Origin, document, encode
from sage.benchmark.run import Run
from sage.benchmark.simulate.bench import SimulatedBench
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.sweep.axis import find_axis
from sage.benchmark.sweep.drive import drive
from sage.benchmark.sweep.outcome import Point
from sage.benchmark.sweep.plan import Sweep, SweepPlan, Turn
from sage.benchmark.sweep.report import as_json

ORIGIN = Origin("sage-cp-bench compare", "2026-01-02T03:04:05+00:00")


@cache
def compared(
    rate: float = 40.0, *, rounds: int = 2, raw: bool = True, timeout_s: float = 3.0
) -> bytes:
    """Return the file of a comparison whose requests partly run into their time limit."""
    config = LLMBenchmarkConfig(
        policies=("fifo", "hybrid_slo"),
        classes=INTERACTIVE_AND_BULK,
        rate=rate,
        requests=120,
        tenants=2,
        rounds=rounds,
        timeout_s=0.5,
        prompt_tokens="lognormal:2000:1",
    )
    bench = SimulatedBench(config, SimulationConfig())
    runs = list(bench.compare())
    comparison = compare_runs(runs, config.policies)
    return encode(document(config, bench.found, ORIGIN, runs, comparison, raw=raw))


class _Nobody:
    """Watches a sweep and keeps nothing."""

    def begins(self, turn: Turn, expected: int) -> None:
        """Take no note."""

    def ended(self, turn: Turn, point: Point) -> None:
        """Take no note."""


@cache
def swept() -> bytes:
    """Return the file of a search for the knees of two policies, with two seeds."""
    axis = find_axis("rate")
    config = LLMBenchmarkConfig(
        policies=("fifo", "hybrid_slo"),
        classes=INTERACTIVE_AND_BULK,
        rate=20.0,
        requests=120,
        rounds=2,
        prompt_tokens="lognormal:2000:1",
    )
    plan = SweepPlan(axis, config.policies, (0, 1), None, 0.9, config.rate, 0.1)

    def measure(turn: Turn) -> Run:
        made = axis.at(replace(config, seed=turn.seed, policies=(turn.policy or "",)), turn.value)
        return SimulatedBench(made, SimulationConfig()).run()

    outcome, error = drive(Sweep(plan), measure, _Nobody())
    assert error is None
    return as_json(outcome, config, SimulatedBench(config, SimulationConfig()).found, ORIGIN)


def edited(data: bytes, *path: Any, value: Any) -> bytes:
    """Return the file with one value replaced, or left out when it is ``...``."""
    root = item = json.loads(data)
    for key in path[:-1]:
        item = item[key]
    if value is ...:
        del item[path[-1]]
    else:
        item[path[-1]] = value
    return json.dumps(root).encode()
