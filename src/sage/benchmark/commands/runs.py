"""``run``, ``replay``, ``compare`` and ``simulate``: a workload, measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sage.benchmark.commands.measuring import measure
from sage.benchmark.commands.targets import output_options, target_options, workload_values
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.options import TRACE_ONLY, build_config, workload_options
from sage.benchmark.simulate.commands import (
    policy_option,
    scale_option,
    simulated_workload,
    trace_option,
    workload,
)
from sage.benchmark.simulate.options import simulation_options
from sage.errors import ConfigError


@click.command()
@target_options
@output_options
@workload_options(leave_out=("rounds", *TRACE_ONLY))
@click.option(
    "--policy", help="Scheduling policy of the gateway for this run.  [default: the one in force]"
)
def run(config_file: Path | None, mode: str | None, policy: str | None, **options: Any) -> int:
    """Issue requests as they are due and report what came of them."""
    config = build_config(config_file, mode, workload_values(options))
    return measure(_one_policy(config, policy), options)


@click.command()
@click.argument("trace", type=click.Path(exists=True))
@target_options
@output_options
@workload_options(
    leave_out=(
        *("rounds", "llm_ratio", "embedding_model", "embedding_tokens", "embedding_batch"),
        *("arrival", "rate", "cv", "burst_size", "ramp_from", "ramp_s", "users", "think_s"),
        *("prompt_tokens", "output_tokens", "turns", "think", "system_tokens", "requests"),
    )
)
@click.option("--requests", type=int, help="Most requests to replay.  [default: the whole trace]")
@click.option("--policy", help="Scheduling policy for this run.  [default: the one in force]")
def replay(
    trace: str,
    config_file: Path | None,
    mode: str | None,
    policy: str | None,
    requests: int | None,
    **options: Any,
) -> int:
    """Replay a trace: Azure's or BurstGPT's CSV, Mooncake's JSON lines, or a folder of ServeGen."""
    config = build_config(config_file, mode, {"trace": trace, **workload_values(options)})
    config = replace(config, requests=requests)
    config.validate()
    return measure(_one_policy(config, policy), options)


@click.command()
@target_options
@output_options
@workload_options(leave_out=TRACE_ONLY)
@click.option(
    "--policies",
    help="Policies to compare, separated by commas; the first is the measure of the others.  "
    "[default: the file's]",
)
def compare(
    config_file: Path | None, mode: str | None, policies: str | None, **options: Any
) -> int:
    """Run policies in turn on the same requests, and say which differences are real."""
    config = build_config(config_file, mode, workload_values(options))
    if policies is not None:
        names = tuple(name.strip() for name in policies.split(",") if name.strip())
        config = replace(config, policies=names)
        config.validate()
    if len(config.policies) < 2:
        raise ConfigError("name at least two policies: --policies fifo,hybrid_slo")
    return measure(config, options, comparing=True)


@click.command()
@output_options
@simulated_workload("rounds")
@trace_option
@scale_option
@policy_option
@simulation_options()
@click.option(
    "--bounds",
    is_flag=True,
    help="Say how good it was of what can be: beside the best plan found by some 30 simulations, "
    "and beside a bound (docs/bounds.md).  [default: off]",
)
def simulate(
    config_file: Path | None, mode: str | None, policy: str | None, bounds: bool, **options: Any
) -> int:
    """Simulate a gateway and its engines, and report as of a live run."""
    config = workload(config_file, mode, policy, workload_values(options))
    target = {"simulate": True, "embedded": False, "api_key": None}
    return measure(config, {**options, **target}, bounds=bounds)


def _one_policy(config: BenchmarkConfig, policy: str | None) -> BenchmarkConfig:
    if policy is not None:
        config = replace(config, policies=(policy,))
        config.validate()
    return config
