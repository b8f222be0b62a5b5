"""The benchmark as a library: configurations, policies, a load, a measured run, and GPUs.

    python examples/tutorials/benchmark_control_plane_demo.py

It starts the packaged engines and a gateway on free ports (`sage models install --default`
fetches them), measures them under two policies, and stops all it has started. The command line
does the same: `sage-cp-bench compare --embedded --mode hybrid --policies fifo,hybrid_slo`.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter

from rich.console import Console

from sage import SageError
from sage.benchmark import (
    ArrivalPattern,
    HybridBenchmarkConfig,
    HybridSLOConfig,
    LLMBenchmarkConfig,
    LLMSLOConfig,
    SchedulingPolicy,
    StrategyAdapter,
)
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.report import show_run
from sage.benchmark.run import Bench
from sage.benchmark.target import embedded_gateway, find_target
from sage.benchmark.template import as_yaml
from sage.benchmark.workload import plan_requests
from sage.dataflow.gpu import open_gpus

# Small enough for a laptop: the packaged model answers some dozens of tokens a second.
HYBRID = HybridBenchmarkConfig(
    requests=16,
    rate=4.0,
    llm_ratio=0.5,
    prompt_tokens="uniform:16:48",
    output_tokens="uniform:4:12",
    warmup_requests=1,
    slo=HybridSLOConfig(LLMSLOConfig(ttft_ms=2000, tpot_ms=500), embedding_ms=1000),
)


def show_config(config: BenchmarkConfig) -> None:
    """Check a configuration, and print it as the file that `--config` reads."""
    config.validate()
    print(as_yaml(config))
    print("Configuration is valid.")


def llm_configuration() -> None:
    """Chat alone, in bursts."""
    print("Demo 1: LLM Benchmark Configuration")
    show_config(
        LLMBenchmarkConfig(
            policies=(SchedulingPolicy.FIFO, SchedulingPolicy.SLO_AWARE),
            requests=100,
            arrival=ArrivalPattern.GAMMA,
            rate=5.0,
            cv=3.0,
            slo=LLMSLOConfig(ttft_ms=500, tpot_ms=50),
        )
    )


def hybrid_configuration() -> None:
    """Chat and embeddings mixed."""
    print("Demo 2: Hybrid Benchmark Configuration")
    show_config(HYBRID)


def policies() -> None:
    """What a gateway can be told to follow."""
    print("Demo 3: Scheduling Policies")
    for name, sentence in StrategyAdapter.list_policies().items():
        print(f"  {name:<18} {sentence}")


def load() -> None:
    """The requests of a run are drawn before it begins; the same seed gives the same ones."""
    print("Demo 4: Request Load")
    requests = plan_requests(HYBRID)
    assert requests == plan_requests(HYBRID)
    for traffic, number in sorted(Counter(request.traffic.value for request in requests).items()):
        print(f"  {number} of {traffic}")
    for request in requests[:5]:
        size = f"{request.prompt_tokens} tokens"
        print(f"  at {request.at:.3f} s: {request.cls}, {size}")


def measured_runs() -> None:
    """The same requests under two policies, on the packaged engines."""
    print("Demo 5: Measured Runs")
    console = Console(width=120)
    with embedded_gateway(HYBRID) as url:
        found = find_target(dataclasses.replace(HYBRID, url=url))
        for policy in ("fifo", "hybrid_slo"):
            run = Bench(dataclasses.replace(HYBRID, policies=(policy,)), found).run()
            show_run(run, console)
            overall = run.summary.overall
            print(
                f"  {policy}: {overall.answered} of {overall.issued} answered, "
                f"{overall.attainment:.0%} in SLO, {overall.goodput:.2f} good requests/s"
            )


def gpu_monitoring() -> None:
    """What the driver says of the GPUs, where there is one; nothing is made up."""
    print("Demo 6: GPU Monitoring")
    probe = open_gpus()
    if probe is None:
        print("  no NVIDIA GPU is visible here, so a run has no figures of one")
        return
    probe.probe(time.monotonic())
    for gpu in probe.readings():
        print(f"  {gpu.index} {gpu.name}: {(gpu.memory_peak or 0) / 2**20:,.0f} MiB in use")


def main() -> int:
    """Run the demos; 0 when they ran, else the error's exit code."""
    try:
        llm_configuration()
        hybrid_configuration()
        policies()
        load()
        measured_runs()
        gpu_monitoring()
    except SageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
