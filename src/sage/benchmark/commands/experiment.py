"""``experiment``: ready-made sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sage.benchmark.commands.sweeping import (
    check_sweep,
    measuring,
    parse_values,
    policies_of,
    run_sweep,
    seeds_of,
    sweep_options,
    sweep_workload,
    write_sweep,
)
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.sweep.experiments import EXPERIMENTS, Experiment
from sage.benchmark.sweep.plan import SweepPlan
from sage.errors import ConfigError

if TYPE_CHECKING:
    from sage.benchmark.sweep.outcome import Outcome

_COARSE = 0.05


@click.group()
def experiment() -> None:
    """Answer one question by a ready-made sweep."""


def _command(chosen: Experiment) -> click.Command:
    tried = ",".join(f"{value:g}" for value in chosen.values)
    shares = ", ".join(f"{share:g}" for share in chosen.of_knee)

    @click.option(
        "--values",
        "--rates",
        "values",
        help="Values to try, such as 2,4,8.  "
        f"[default: {tried or f'{shares} times the knee of the first policy, found first'}]",
    )
    @sweep_options
    def run(values: str | None, config_file: Path | None, mode: str | None, **options: Any) -> int:
        if chosen.values and config_file is None:
            mode = mode or "hybrid"
        config, axis, seconds = sweep_workload(config_file, mode, options, chosen.axis)
        given = parse_values(values) if values else chosen.values
        return _measure(
            chosen,
            SweepPlan(
                axis,
                policies_of(config),
                seeds_of(config),
                given or None,
                options["attainment"],
                axis.start(config),
                _COARSE,
            ),
            config,
            seconds,
            options,
        )

    return click.command(chosen.name, help=chosen.question)(run)


def _measure(
    chosen: Experiment,
    plan: SweepPlan,
    config: BenchmarkConfig,
    seconds: float | None,
    options: dict[str, Any],
) -> int:
    from rich.console import Console

    from sage.benchmark.sweep.report import show_outcome

    check_sweep(config, options, plan, seconds)
    with measuring(config, options, plan.axis, seconds) as (found, measure):
        outcome, error = None, None
        if plan.values is None:
            search = replace(plan, policies=plan.policies[:1], seeds=plan.seeds[:1])
            outcome, error = run_sweep(search, measure, options)
            if outcome.complete:
                loads = chosen.loads(plan.axis, _knee(outcome))
                plan = replace(plan, values=loads)
        if plan.values is not None and error is None:
            outcome, error = run_sweep(plan, measure, options)
    assert outcome is not None
    console = Console()
    console.print(chosen.question, style="bold", highlight=False)
    show_outcome(outcome, console, chosen.columns)
    findings = list(chosen.findings(outcome))
    for line in findings:
        console.print(line, highlight=False)
    extra = {"experiment": {"name": chosen.name, "findings": findings}}
    code = write_sweep(outcome, config, found, options, console, extra=extra)
    if error is not None:
        raise error
    return code


def _knee(outcome: Outcome) -> float:
    knee = outcome.knees[0].knee
    if knee is None:
        raise ConfigError(
            f"no load from {outcome.points[-1].value:g} {outcome.unit} on keeps "
            f"{outcome.target:.0%} in SLO; can one request alone? Else name loads: --rates"
        )
    return knee.mean


for _experiment in EXPERIMENTS.values():
    experiment.add_command(_command(_experiment))
