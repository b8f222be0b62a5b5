"""``validate``, ``config`` and ``policies``: what a run can be told."""

from __future__ import annotations

from pathlib import Path

import click

from sage.benchmark.config import MODES, BenchmarkConfig, load_config
from sage.benchmark.policies import StrategyAdapter
from sage.benchmark.template import as_json, as_yaml


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def validate(file: Path) -> None:
    """Check a configuration file."""
    load_config(file)
    click.echo("Configuration is valid.")


@click.command("config")
@click.option("--mode", type=click.Choice(list(MODES)), default="llm", show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
def print_config(mode: str, form: str) -> None:
    """Print a configuration file with every value at its default."""
    config: BenchmarkConfig = MODES[mode]()
    click.echo(as_yaml(config) if form == "yaml" else as_json(config))


@click.command()
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
