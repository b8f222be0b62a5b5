"""The ``sage-cp-bench`` command."""

from __future__ import annotations

import click

from sage.benchmark.commands.calibrating import calibrate
from sage.benchmark.commands.configuration import policies, print_config, validate
from sage.benchmark.commands.experiment import experiment
from sage.benchmark.commands.runs import compare, replay, run, simulate
from sage.benchmark.commands.sweeping import sweep
from sage.benchmark.commands.visualizing import visualize
from sage.benchmark.simulate.commands import plan

_COMMANDS: tuple[click.Command, ...] = (
    *(run, replay, compare, sweep, experiment),
    *(simulate, plan, calibrate),
    *(visualize,),
    *(validate, print_config, policies),
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Load a gateway or engine, measure it, and compare scheduling policies. "
    "Exit code 7: the client was the bottleneck, so the figures are invalid.",
)
@click.version_option(package_name="sage-stack", prog_name="sage-cp-bench")
def cli() -> None:
    """Root of the command tree."""


for _command in _COMMANDS:
    cli.add_command(_command)
