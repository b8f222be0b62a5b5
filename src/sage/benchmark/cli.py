"""The ``sage-cp-bench`` command."""

from __future__ import annotations

import datetime as dt
import itertools
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sage.benchmark.config import MODES, BenchmarkConfig, load_config, with_options
from sage.benchmark.options import build_config, workload_options
from sage.benchmark.policies import StrategyAdapter
from sage.benchmark.simulate.commands import (
    plan,
    policy_option,
    scale_option,
    simulated_workload,
    trace_option,
    workload,
)
from sage.benchmark.simulate.options import (
    SIMULATION_FLAGS,
    build_simulation,
    simulation_options,
    split_options,
)
from sage.benchmark.template import as_json, as_yaml
from sage.errors import ConfigError

if TYPE_CHECKING:
    from sage.benchmark.exchange import Exchange
    from sage.benchmark.report import Origin
    from sage.benchmark.run import Bench, Run
    from sage.benchmark.simulate.bench import SimulatedBench
    from sage.benchmark.target import Found

_F = TypeVar("_F", bound=Callable[..., Any])
_INTERRUPTED = 130
_INVALID = (
    7  # no SageError's code, so that scripts can tell a run that counts from one that does not
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Load a gateway or engine, measure it, and compare scheduling policies. "
    "Exit code 7: the client was the bottleneck, so the figures are invalid.",
)
@click.version_option(package_name="sage-stack", prog_name="sage-cp-bench")
def cli() -> None:
    """Root of the command tree."""


_OUTPUT_OPTIONS = (
    click.option(
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the results as JSON to this file.  [default: not written]",
    ),
    click.option(
        "--raw/--no-raw",
        default=True,
        show_default=True,
        help="List each request in that file.",
    ),
)


def _target_options(command: _F) -> _F:
    options = (
        click.option(
            "--embedded",
            is_flag=True,
            help="Start the packaged engines and a gateway for this run.  [default: off]",
        ),
        click.option(
            "--simulate",
            is_flag=True,
            help="Simulate gateway and engines; the flags below say which.  [default: off]",
        ),
        click.option("--api-key", help="Sent as a bearer token.  [default: none]"),
        *_OUTPUT_OPTIONS,
        simulation_options(),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _output_options(command: _F) -> _F:
    for option in reversed(_OUTPUT_OPTIONS):
        command = option(command)
    return command


@cli.command()
@_target_options
@workload_options(leave_out=("rounds", "time_scale"))
@click.option(
    "--policy", help="Scheduling policy of the gateway for this run.  [default: the one in force]"
)
def run(config_file: Path | None, mode: str | None, policy: str | None, **options: Any) -> int:
    """Issue requests as they are due and report what came of them."""
    config = build_config(config_file, mode, _workload(options))
    return _measure(_one_policy(config, policy), options)


@cli.command()
@click.argument("trace", type=click.Path(dir_okay=False, exists=True))
@_target_options
@workload_options(
    leave_out=(
        *("rounds", "llm_ratio", "embedding_model", "embedding_tokens", "embedding_batch"),
        *("arrival", "rate", "cv", "burst_size", "ramp_from", "ramp_s", "users", "think_s"),
        *("prompt_tokens", "output_tokens", "requests"),
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
    """Replay a trace: Azure's or BurstGPT's CSV, or Mooncake's JSON lines."""
    config = build_config(config_file, mode, {"trace": trace, **_workload(options)})
    config = replace(config, requests=requests)
    config.validate()
    return _measure(_one_policy(config, policy), options)


@cli.command()
@_target_options
@workload_options(leave_out=("time_scale",))
@click.option(
    "--policies",
    help="Policies to compare, separated by commas; the first is the measure of the others.  "
    "[default: the file's]",
)
def compare(
    config_file: Path | None, mode: str | None, policies: str | None, **options: Any
) -> int:
    """Run policies in turn on the same requests, and say which differences are real."""
    config = build_config(config_file, mode, _workload(options))
    if policies is not None:
        names = tuple(name.strip() for name in policies.split(",") if name.strip())
        config = replace(config, policies=names)
        config.validate()
    if len(config.policies) < 2:
        raise ConfigError("name at least two policies: --policies fifo,hybrid_slo")
    return _measure(config, options, comparing=True)


@cli.command()
@_output_options
@simulated_workload("rounds")
@trace_option
@scale_option
@policy_option
@simulation_options()
def simulate(config_file: Path | None, mode: str | None, policy: str | None, **options: Any) -> int:
    """Simulate a gateway and its engines, and report as of a live run."""
    config = workload(config_file, mode, policy, _workload(options))
    return _measure(config, {**options, "simulate": True, "embedded": False, "api_key": None})


cli.add_command(plan)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def validate(file: Path) -> None:
    """Check a configuration file."""
    load_config(file)
    click.echo("Configuration is valid.")


@cli.command("config")
@click.option("--mode", type=click.Choice(list(MODES)), default="llm", show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
def print_config(mode: str, form: str) -> None:
    """Print a configuration file with every value at its default."""
    config: BenchmarkConfig = MODES[mode]()
    click.echo(as_yaml(config) if form == "yaml" else as_json(config))


@cli.command()
@click.option("--url", help="Ask this gateway which it has.  [default: list those known here]")
def policies(url: str | None) -> None:
    """List the scheduling policies."""
    if url is None:
        for name, sentence in StrategyAdapter.list_policies().items():
            click.echo(f"{name:<18} {sentence}")
        return
    adapter = StrategyAdapter(url)
    current = adapter.current()
    for name, sentence in adapter.available().items():
        mark = "*" if name == current else " "
        click.echo(f"{mark} {name:<18} {sentence}")


def _workload(options: dict[str, Any]) -> dict[str, Any]:
    own = ("embedded", "api_key", "output", "raw", "simulate", *SIMULATION_FLAGS)
    return {name: value for name, value in options.items() if name not in own}


def _one_policy(config: BenchmarkConfig, policy: str | None) -> BenchmarkConfig:
    if policy is not None:
        config = replace(config, policies=(policy,))
        config.validate()
    return config


def _measure(config: BenchmarkConfig, options: dict[str, Any], *, comparing: bool = False) -> int:
    from sage.benchmark.report import Origin
    from sage.benchmark.run import Bench

    _check_target(config, options)
    output: Path | None = options["output"]
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigError(f"--output: there is no folder {output.absolute().parent}")
    origin = Origin(_command(options["api_key"]), dt.datetime.now(dt.UTC).isoformat("T", "seconds"))
    if options["simulate"]:
        found, runs = _simulate(config, options, comparing)
    else:
        with _target(config, options) as found:
            runs = _progress(config, partial(Bench, config, found), comparing)
    return _report(config, found, origin, runs, options=options, comparing=comparing)


def _check_target(config: BenchmarkConfig, options: dict[str, Any]) -> None:
    if options["embedded"] and config.url:
        raise ConfigError("--embedded starts a gateway of its own; leave --url out")
    if options["simulate"]:
        if options["embedded"] or config.url:
            raise ConfigError("--simulate needs no server; leave --url and --embedded out")
    elif given := split_options(options)[0]:
        flag = next(iter(given)).replace("_", "-")
        raise ConfigError(f"--{flag} is for simulated engines; add --simulate")


def _simulate(
    config: BenchmarkConfig, options: dict[str, Any], comparing: bool
) -> tuple[Found, list[Run]]:
    from sage.benchmark.simulate.bench import SimulatedBench

    simulation = build_simulation(config, split_options(options)[0])
    make = partial(SimulatedBench, config, simulation)
    # They end by thousands a second: a bar that moved for each would take most of the time.
    return make().found, _progress(config, make, comparing, every=1000)


def _command(api_key: str | None) -> str:
    arguments = [item.replace(api_key, "…") if api_key else item for item in sys.argv[1:]]
    return shlex.join(["sage-cp-bench", *arguments])


@contextmanager
def _target(config: BenchmarkConfig, options: dict[str, Any]) -> Iterator[Found]:
    from sage.benchmark.target import embedded_gateway, find_target

    if not options["embedded"]:
        yield find_target(config, api_key=options["api_key"])
        return
    with embedded_gateway(config) as url:
        # It serves under names of its own what --model may name by a path.
        yield find_target(with_options(config, {"url": url, **_unnamed(config)}))


def _unnamed(config: BenchmarkConfig) -> dict[str, None]:
    names = ("model", "embedding_model")
    return {name: None for name in names if hasattr(config, name)}


def _progress(
    config: BenchmarkConfig,
    make: Callable[..., Bench | SimulatedBench],
    comparing: bool,
    *,
    every: int = 1,
) -> list[Run]:
    """Measure, with a progress bar where stderr is a terminal; an interrupted run is the last."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from sage.benchmark.workload import plan_requests

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    total = len(plan_requests(config)) * _expected(config, comparing)
    runs: list[Run] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("requests", total=total)
        answers = itertools.count(1)

        def answered(_: Exchange) -> None:
            if next(answers) % every == 0:
                bar.advance(task, every)

        bench = make(on_answer=answered)
        try:
            # Extended one by one, so that what came before an interrupt is kept.
            runs.extend(bench.compare() if comparing else [bench.run()])
        except KeyboardInterrupt:
            # Between two runs; inside one it ends that run, which is then in the list.
            if not runs:
                raise
    return runs


def _expected(config: BenchmarkConfig, comparing: bool) -> int:
    return config.rounds * len(config.policies) if comparing else 1


def _report(
    config: BenchmarkConfig,
    found: Found,
    origin: Origin,
    runs: Sequence[Run],
    *,
    options: dict[str, Any],
    comparing: bool,
) -> int:
    from rich.console import Console

    from sage.benchmark.comparison import compare_runs
    from sage.benchmark.report import document, encode, show_comparison, show_run, show_verdict

    console = Console()
    comparison = compare_runs(runs, config.policies) if comparing else None
    if comparison is None:
        show_run(runs[0], console)
    else:
        show_comparison(comparison, console)
        for one in runs:
            if not one.verdict.valid:
                show_verdict(one, console)
    console.print(f"target {found.url}; seed {config.seed}; {origin.command}", highlight=False)
    output: Path | None = options["output"]
    if output is not None:
        result = document(config, found, origin, runs, comparison, raw=options["raw"])
        output.write_bytes(encode(result))
        console.print(f"results written to {output}", highlight=False)
    if len(runs) < _expected(config, comparing) or not runs[-1].complete:
        return _INTERRUPTED
    return 0 if all(one.verdict.valid for one in runs) else _INVALID
