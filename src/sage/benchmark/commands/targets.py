"""What is measured: the flags that say so, and finding it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sage.benchmark.config import BenchmarkConfig, with_options
from sage.benchmark.simulate.options import SIMULATION_FLAGS, simulation_options, split_options
from sage.errors import ConfigError

if TYPE_CHECKING:
    from sage.benchmark.target import Found

_F = TypeVar("_F", bound=Callable[..., Any])

report_option = click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results as a page with charts, as tables in Markdown or as CSV: the name "
    "ends in .html, .md or .csv. Can be given again.  [default: not written]",
)
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results as JSON to this file.  [default: not written]",
)
_OUTPUT_OPTIONS = (
    output_option,
    click.option(
        "--raw/--no-raw",
        default=True,
        show_default=True,
        help="List each request in that file.",
    ),
    report_option,
)
_TARGET_OPTIONS = (
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
)


def target_options(command: _F) -> _F:
    """Add the flags that say what is measured."""
    command = simulation_options()(command)
    for option in reversed(_TARGET_OPTIONS):
        command = option(command)
    return command


def output_options(command: _F) -> _F:
    """Add the flags that say where the results go."""
    for option in reversed(_OUTPUT_OPTIONS):
        command = option(command)
    return command


def workload_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are about the workload, not about the target or the results."""
    own = ("embedded", "api_key", "output", "raw", "reports", "simulate", *SIMULATION_FLAGS)
    return {name: value for name, value in options.items() if name not in own}


def check_target(config: BenchmarkConfig, options: Mapping[str, Any]) -> None:
    """Raise ConfigError when the flags name two targets, or simulated engines without one."""
    if options["embedded"] and config.url:
        raise ConfigError("--embedded starts a gateway of its own; leave --url out")
    if options["simulate"]:
        if options["embedded"] or config.url:
            raise ConfigError("--simulate needs no server; leave --url and --embedded out")
    elif given := split_options(options)[0]:
        flag = next(iter(given)).replace("_", "-")
        raise ConfigError(f"--{flag} is for simulated engines; add --simulate")


def check_output(path: Path | None, reports: Sequence[Path] = ()) -> None:
    """Raise ConfigError, before anything is measured, when the results could not be written."""
    if reports:
        from sage.benchmark.visualize.files import check_report

        for report in reports:
            check_report(report)
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"--output: there is no folder {path.absolute().parent}")


@contextmanager
def live_target(config: BenchmarkConfig, options: Mapping[str, Any]) -> Iterator[Found]:
    """Give the server to measure; with ``--embedded`` it runs until the block's end.

    Raises:
        SageError: nothing answers there, or the packaged stack does not start.
    """
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
