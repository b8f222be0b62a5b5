"""How fast the simulator is: a long trace over a large fleet, on one core.

The trace of the Azure conversations is repeated until there are enough requests and comes so fast
that each engine gets its share. Timed is the simulation itself (scheduler included) from the first
arrival to the last end, and apart from it what reading the trace and summing up take.

Run it with a checkout's Python, or with that of the compiled wheel; it says which.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from _report import Report

from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import summarise
from sage.benchmark.traces import read_trace, repeated, scaled
from sage.benchmark.workload import PlannedRequest
from sage.inference.scheduling.form import core_form

BAR_S = 120.0
TRACE = Path(__file__).parents[2] / "shared" / "traces" / "azure_conv.csv"


def requests(path: Path, count: int, rate: float) -> list[PlannedRequest]:
    """Return so many requests of the trace at so many a second."""
    records = repeated(read_trace(path), count)
    records = scaled(records, rate * records[-1].at / (len(records) - 1))
    slo = LLMBenchmarkConfig().request_classes()[0].slo
    return [
        PlannedRequest(n, r.at, TrafficClass.CHAT, r.prompt_tokens, r.output_tokens, slo=slo)
        for n, r in enumerate(records)
    ]


def measure(
    policy: str, items: list[PlannedRequest], engines: int, config: LLMBenchmarkConfig
) -> dict[str, float]:
    """Simulate once; return times in seconds, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = simulate(items, config, SimulationConfig(engines=engines, policy=policy))
    simulated = time.process_time()
    walled = time.perf_counter()
    summary = summarise(result, config)
    overall = summary.overall
    return {
        "cpu_s": simulated - cpu,
        "wall_s": walled - wall,
        "summary_cpu_s": time.process_time() - simulated,
        "us_a_request": (simulated - cpu) / len(items) * 1e6,
        "simulated_s": summary.duration_s,
        "attainment": overall.attainment,
        "tokens": overall.output_tokens * overall.answered,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure each policy that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--engines", type=int, default=64)
    parser.add_argument("--rate", type=float, default=20.0, help="requests/s for each engine")
    parser.add_argument("--policies", default="fifo,hybrid_slo")
    parser.add_argument("--trace", type=Path, default=TRACE)
    options = parser.parse_args()
    report = Report("simulator", [])
    report.add("core", core_form(), f"scheduling core: {core_form()}")
    began = time.process_time()
    items = requests(options.trace, options.requests, options.rate * options.engines)
    read = time.process_time() - began
    report.add("read_cpu_s", read, f"{len(items):,} requests read in {read:.1f} s")
    slowest = 0.0
    for policy in options.policies.split(","):
        figures = measure(policy, items, options.engines, LLMBenchmarkConfig())
        slowest = max(slowest, figures["cpu_s"])
        report.add(
            policy,
            figures,
            f"{policy:12} {figures['cpu_s']:6.1f} s of CPU ({figures['us_a_request']:.0f} µs a "
            f"request, {figures['wall_s']:.0f} s on the clock), and {figures['summary_cpu_s']:.1f} "
            f"s to sum up; {figures['simulated_s']:.0f} s and {figures['tokens'] / 1e6:.0f} M "
            f"tokens simulated, {figures['attainment']:.1%} in SLO; "
            f"{figures['peak_rss_gib']:.1f} GiB at most",
        )
    report.add("bar_s", BAR_S, f"bar: {BAR_S:.0f} s for 1,000,000 requests over 64 engines")
    report.write()
    if options.requests >= 1_000_000 and slowest > BAR_S:
        raise SystemExit("above the bar")


if __name__ == "__main__":
    main()
