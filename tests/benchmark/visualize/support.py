"""Results of real simulated runs, as their files hold them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from sage.benchmark.classes import INTERACTIVE_AND_BULK
from sage.benchmark.comparison import compare_runs
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.report import Origin, document, encode
from sage.benchmark.simulate.bench import SimulatedBench
from sage.benchmark.simulate.config import SimulationConfig

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
        rounds=rounds,
        timeout_s=0.5,
        prompt_tokens="lognormal:2000:1",
    )
    bench = SimulatedBench(config, SimulationConfig())
    runs = list(bench.compare())
    comparison = compare_runs(runs, config.policies)
    return encode(document(config, bench.found, ORIGIN, runs, comparison, raw=raw))


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
