"""``sweep``: policies over one axis of load, and where each one's goodput ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.commands.measuring import (
    INTERRUPTED,
    INVALID,
    SIMULATED_EVERY,
    make_origin,
    write_reports,
)
from sage.benchmark.commands.progress import SweepProgress
from sage.benchmark.commands.targets import (
    check_output,
    check_target,
    live_target,
    output_option,
    report_option,
    target_options,
    workload_values,
)
from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig
from sage.benchmark.options import build_config, workload_options
from sage.benchmark.simulate.commands import trace_option
from sage.benchmark.simulate.options import build_simulation, split_options
from sage.benchmark.sweep.axis import AXES, Axis, find_axis
from sage.benchmark.sweep.plan import Sweep, SweepPlan, Turn
from sage.errors import ConfigError, SageError

if TYPE_CHECKING:
    from rich.console import Console

    from sage.benchmark.run import Run
    from sage.benchmark.sweep.outcome import Outcome
    from sage.benchmark.target import Found

_F = TypeVar("_F", bound=Callable[..., Any])
_SECONDS = 60.0
_OWN = ("policies", "values", "attainment", "resolution", "seconds", "over")

Measure = Callable[[Turn, SweepProgress], "Run"]


def sweep_options(command: _F) -> _F:
    """Add the flags of a command that makes many runs over an axis."""
    options = (
        click.option(
            "--policies",
            help="Policies that take turns, separated by commas; the first is the measure of the "
            "others.  [default: the file's, or the one in force]",
        ),
        click.option(
            "--attainment",
            type=float,
            default=0.9,
            show_default=True,
            help="Share of all requests in their SLO that a knee keeps.",
        ),
        click.option(
            "--seconds",
            type=float,
            help="How long requests keep coming in each run: it issues rate × seconds of them.  "
            f"[default: {_SECONDS:g}, unless --requests, a trace or users say how many]",
        ),
        output_option,
        report_option,
        target_options,
        workload_options(),
        trace_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option(
    "--over",
    type=click.Choice(list(AXES)),
    default="rate",
    show_default=True,
    help="What is varied.",
)
@click.option(
    "--values",
    "--rates",
    "values",
    default="auto",
    show_default=True,
    help="Values to try, such as 2,4,8; auto looks for the knee from the workload's own value.",
)
@click.option(
    "--resolution",
    type=float,
    default=0.02,
    show_default=True,
    help="How near auto comes to the knee, as a share of it.",
)
@sweep_options
def sweep(
    over: str,
    values: str,
    resolution: float,
    config_file: Path | None,
    mode: str | None,
    **options: Any,
) -> int:
    """Run policies over one axis of load, and find where each one's goodput ends."""
    config, axis, seconds = sweep_workload(config_file, mode, options, lambda _: find_axis(over))
    plan = SweepPlan(
        axis,
        policies_of(config),
        seeds_of(config),
        None if values == "auto" else parse_values(values),
        options["attainment"],
        axis.start(config),
        resolution,
    )
    return measure_sweep(config, options, plan, seconds)


def parse_values(text: str) -> tuple[float, ...]:
    """Read numbers separated by commas.

    Raises:
        ConfigError: something else.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--values {text}: write auto, or numbers such as 2,4,8") from None


def policies_of(config: BenchmarkConfig) -> tuple[str | None, ...]:
    """Return the policies that take turns."""
    return config.policies or (None,)


def seeds_of(config: BenchmarkConfig) -> tuple[int, ...]:
    """Return the seed of each round."""
    return tuple(range(config.seed, config.seed + config.rounds))


def sweep_workload(
    config_file: Path | None,
    mode: str | None,
    options: Mapping[str, Any],
    choose: Callable[[BenchmarkConfig], Axis],
) -> tuple[BenchmarkConfig, Axis, float | None]:
    """Return the workload that file and flags make, its axis, and the seconds of each run.

    Args:
        config_file: as the flag names it.
        mode: likewise.
        options: the other flags.
        choose: says what is varied.

    Raises:
        ConfigError: a value is wrong, or two of them contradict.
    """
    given = {name: value for name, value in workload_values(options).items() if name not in _OWN}
    config = build_config(config_file, mode, given)
    if config.trace is None and options["time_scale"] is not None:
        raise ConfigError("--time-scale is for a trace; name one with --trace, or set --rate")
    if config.trace is not None and options["requests"] is None:
        config = replace(config, requests=None)
    if options["policies"] is not None:
        names = tuple(name.strip() for name in options["policies"].split(",") if name.strip())
        config = replace(config, policies=names)
    axis = choose(config)
    if axis.name == "llm_ratio" and isinstance(config, HybridBenchmarkConfig):
        # Engines of both kinds have to be there, whatever ratio the file says.
        config = replace(config, llm_ratio=0.5)
    config.validate()
    return config, axis, _seconds(config, options, axis)


def _seconds(config: BenchmarkConfig, options: Mapping[str, Any], axis: Axis) -> float | None:
    seconds: float | None = options["seconds"]
    closed = axis.name == "users" or config.arrival is ArrivalPattern.CLOSED
    counted = options["requests"] is not None or config.trace is not None or closed
    if seconds is None:
        return None if counted else _SECONDS
    if counted:
        raise ConfigError("--seconds is for open arrivals; --requests says how many otherwise")
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; it must be a positive number")
    return seconds


def measure_sweep(
    config: BenchmarkConfig, options: dict[str, Any], plan: SweepPlan, seconds: float | None
) -> int:
    """Make the runs of a plan, report, and return the exit code.

    Raises:
        SageError: flags contradict, or there is nothing to measure.
    """
    from rich.console import Console

    from sage.benchmark.sweep.report import show_outcome

    check_sweep(config, options, plan, seconds)
    with measuring(config, options, plan.axis, seconds) as (found, measure):
        outcome, error = run_sweep(plan, measure, options)
    console = Console()
    show_outcome(outcome, console)
    code = write_sweep(outcome, config, found, options, console)
    if error is not None:
        raise error
    return code


def check_sweep(
    config: BenchmarkConfig, options: Mapping[str, Any], plan: SweepPlan, seconds: float | None
) -> None:
    """Raise ConfigError, before anything is measured, for what could not be run or written."""
    check_target(config, options)
    check_output(options["output"], options["reports"])
    for value in plan.values or (plan.start,):
        plan.axis.at(config, value, seconds=seconds)


def run_sweep(
    plan: SweepPlan, measure: Measure, options: Mapping[str, Any]
) -> tuple[Outcome, SageError | None]:
    """Make the runs of a plan, showing how they get on, as `drive` has it."""
    from sage.benchmark.sweep.drive import drive

    every = SIMULATED_EVERY if options["simulate"] else 1
    with SweepProgress(plan.axis.name, plan.axis.unit, every=every) as progress:
        return drive(Sweep(plan), lambda turn: measure(turn, progress), progress)


@contextmanager
def measuring(
    config: BenchmarkConfig, options: Mapping[str, Any], axis: Axis, seconds: float | None
) -> Iterator[tuple[Found, Measure]]:
    """Give what is measured and a function that makes one run of it, until the block's end."""

    def at(turn: Turn, progress: SweepProgress) -> BenchmarkConfig:
        made = axis.at(replace(config, seed=turn.seed), turn.value, seconds=seconds)
        progress.planned(made.requests or 1)
        return replace(made, policies=() if turn.policy is None else (turn.policy,))

    if options["simulate"]:
        yield _simulated(config, options, at)
        return
    from sage.benchmark.run import Bench

    with live_target(config, options) as found:

        def live(turn: Turn, progress: SweepProgress) -> Run:
            made = at(turn, progress)
            return Bench(made, found, on_answer=progress.answered).run()

        yield found, live


def _simulated(
    config: BenchmarkConfig,
    options: Mapping[str, Any],
    at: Callable[[Turn, SweepProgress], BenchmarkConfig],
) -> tuple[Found, Measure]:
    from sage.benchmark.simulate.bench import SimulatedBench

    simulation = build_simulation(config, split_options(options)[0])

    def simulated(turn: Turn, progress: SweepProgress) -> Run:
        made, answered = at(turn, progress), progress.answered
        return SimulatedBench(made, simulation, details=False, on_answer=answered).run()

    return SimulatedBench(config, simulation).found, simulated


def write_sweep(
    outcome: Outcome,
    config: BenchmarkConfig,
    found: Found,
    options: Mapping[str, Any],
    console: Console,
    *,
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Say how it was made, write the files that were asked for, and return the exit code."""
    from sage.benchmark.sweep.report import as_json

    origin = make_origin(options["api_key"])
    console.print(f"target {found.url}; seed {config.seed}; {origin.command}", highlight=False)
    data = as_json(outcome, config, found, origin, extra=extra)
    output: Path | None = options["output"]
    if output is not None:
        output.write_bytes(data)
        console.print(f"results written to {output}", highlight=False)
    write_reports(options["reports"], data, "sweep", console)
    if not outcome.complete:
        return INTERRUPTED
    return 0 if outcome.valid else INVALID
