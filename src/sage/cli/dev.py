"""The ``sage-dev`` command, for contributors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from sage.cli.checks import CHECKS, project_root, run_check
from sage.cli.run import run_cli
from sage.errors import ConfigError, nearest

_MOST_PROCESSES = 4  # each starts engines of its own, which want cores too


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(cores: int) -> list[str]:
    """Return pytest's arguments that spread the suite over so many cores.

    Tests of one group, which share something dear to start, stay together. Tests wait more than
    they compute, so there is a process more than cores.
    """
    processes = min(cores + 1, _MOST_PROCESSES) if cores > 1 else 1
    return ["-n", str(processes), "--dist", "loadgroup"] if processes > 1 else []


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process and return its exit code.

    Ctrl-C reaches it by itself; it gets the time that it needs to end what it has started.
    """
    with process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tools for contributors to SAGE; run inside a checkout.",
)
def cli() -> None:
    """Root of the command tree."""


@cli.command(help="Run ruff, mypy and the import-layer check; mends what it can.")
@click.option("--check-only", is_flag=True, help="Judge only: change nothing in the tree.")
def quality(check_only: bool) -> int:
    """Run every check, and fail when one fails; the rest still run."""
    root = project_root(Path.cwd())
    failed = []
    for check in CHECKS:
        click.secho(f"── {check.name}", bold=True)
        if run_check(check, root, fix=not check_only):
            failed.append(check.name)
    if failed:
        click.secho(f"failed: {', '.join(failed)}", fg="red", err=True)
        return 1
    click.secho("all checks passed", fg="green")
    return 0


@cli.command(
    context_settings={"ignore_unknown_options": True},
    help="Run the style checks, then the tests, spread over processes. "
    "With arguments, run pytest with just those.",
)
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(ctx: click.Context, pytest_args: tuple[str, ...]) -> int:
    """Run the checks and the whole suite; named tests run without the checks, in one process."""
    root = project_root(Path.cwd())
    if not pytest_args and (code := ctx.invoke(quality, check_only=True)):
        return int(code)
    command = [sys.executable, "-m", "pytest", *(pytest_args or spread(usable_cores()))]
    return wait_for(subprocess.Popen(command, cwd=root))


@cli.command(
    context_settings={"ignore_unknown_options": True},
    help="Run a benchmark of benchmarks/ by name, or all. Arguments after the name go to it.",
)
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str | None, arguments: tuple[str, ...]) -> int:
    """Run benchmarks; each prints its machine, versions and command."""
    root = project_root(Path.cwd())
    known = {
        path.stem: path
        for path in sorted((root / "benchmarks").glob("*.py"))
        if not path.stem.startswith("_")
    }
    if name is not None and name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(known)}"
        raise ConfigError(f"no benchmark named {name!r}; {hint}")
    chosen = [known[name]] if name else list(known.values())
    codes = [
        subprocess.run([sys.executable, str(path), *arguments], cwd=root, check=False).returncode
        for path in chosen
    ]
    return max(codes, default=0)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_cli(cli, "sage-dev"))
