"""``sage-cp-bench simulate`` and ``plan``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.options import build_config, workload_options
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.options import build_simulation, simulation_options, split_options
from sage.errors import ConfigError
from sage.inference.scheduling.request import Kind

_F = TypeVar("_F", bound=Callable[..., Any])
_NAMES = {Kind.LLM: "LLM", Kind.EMBEDDING: "embedding"}
_LIVE_ONLY = ("url", "model", "embedding_model", "text", "ignore_eos", "warmup_requests")
_TRACE_HAS = (
    *("arrival", "rate", "cv", "burst_size", "ramp_from", "ramp_s", "users", "think_s"),
    *("prompt_tokens", "output_tokens", "turns", "think", "system_tokens"),
)

trace_option = click.option(
    "--trace",
    type=click.Path(exists=True),
    help="Replay this trace (Azure, Mooncake, BurstGPT, ServeGen), whole unless --requests says "
    "how many.  [default: requests are drawn]",
)
scale_option = click.option(
    "--rate-scale",
    "--time-scale",
    "time_scale",
    type=float,
    help="How many times as fast the trace comes.  [default: 1.0]",
)
policy_option = click.option("--policy", help="Scheduling policy.  [default: fifo]")


def simulated_workload(*leave_out: str) -> Callable[[_F], _F]:
    """Add the flags of a workload that is not sent anywhere."""
    return workload_options(leave_out=(*_LIVE_ONLY, "time_scale", *leave_out))


def workload(
    config_file: Path | None, mode: str | None, policy: str | None, options: dict[str, Any]
) -> BenchmarkConfig:
    """Return the workload that file and flags make.

    Raises:
        ConfigError: a value is wrong, or two of them contradict.
    """
    options = dict(options)
    if options.get("trace") is None:
        if options.get("time_scale") is not None:
            raise ConfigError("--rate-scale is for a trace; name one with --trace, or set --rate")
    else:
        for name in _TRACE_HAS:
            if options.get(name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')}: the trace says that itself")
    whole = options.get("trace") is not None and options.get("requests") is None
    config = build_config(config_file, mode, options)
    if whole:
        config = replace(config, requests=None)
    if policy is not None:
        config = replace(config, policies=(policy,))
    config.validate()
    return config


@click.command("plan")
@simulated_workload("rounds")
@trace_option
@scale_option
@policy_option
@simulation_options(leave_out=("engines", "embedding_engines"))
@click.option(
    "--attainment",
    type=float,
    default=0.95,
    show_default=True,
    help="Share of all requests to be answered within their SLO.",
)
@click.option(
    "--most-engines",
    type=int,
    default=1024,
    show_default=True,
    help="Engines to try at most.",
)
def plan(
    config_file: Path | None,
    mode: str | None,
    policy: str | None,
    attainment: float,
    most_engines: int,
    **options: Any,
) -> int:
    """Say how many engines of each kind a load needs, by simulation."""
    given, rest = split_options(options)
    config = workload(config_file, mode, policy, rest)
    simulation = build_simulation(config, given)
    kinds = [
        kind
        for kind, profile in (
            (Kind.LLM, simulation.profile),
            (Kind.EMBEDDING, simulation.embedding_profile),
        )
        if profile is not None
    ]
    # Each is looked for, even when another is out of reach.
    reached = [_plan_of(kind, config, simulation, attainment, most_engines) for kind in kinds]
    return 0 if all(reached) else 1


def _plan_of(
    kind: Kind,
    config: BenchmarkConfig,
    simulation: SimulationConfig,
    attainment: float,
    most: int,
) -> bool:
    """Print how many engines of a kind are needed; return whether any number is enough."""
    from rich.console import Console
    from rich.table import Table

    from sage.benchmark.simulate.planning import Try, plan_fleet

    status, console = Console(stderr=True), Console()
    profile = simulation.profile if kind is Kind.LLM else simulation.embedding_profile

    def tell(one: Try) -> None:
        status.print(
            f"{one.engines} {_NAMES[kind]} engines: {one.attainment:.1%} in SLO", highlight=False
        )

    found = plan_fleet(config, simulation, kind=kind, attainment=attainment, most=most, on_try=tell)
    policy = config.policies[0] if config.policies else simulation.policy
    table = Table(title=f"{profile}, policy {policy}")
    for name in ("engines", "in SLO", "good/s"):
        table.add_column(name, justify="right")
    for one in found.tries:
        table.add_row(str(one.engines), f"{one.attainment:.2%}", f"{one.goodput:.2f}")
    console.print(table)
    if found.engines is None:
        console.print(
            f"{most} {_NAMES[kind]} engines do not reach {attainment:.1%}; is the SLO within reach "
            "of one request alone?",
            style="bold red",
            highlight=False,
        )
        return False
    console.print(
        f"{found.engines} {_NAMES[kind]} engines for {attainment:.1%} attainment", highlight=False
    )
    return True
