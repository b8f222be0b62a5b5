"""What ``sage llm logs`` shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from sage.config.logs import tail
from sage.config.paths import UserPaths
from sage.errors import ConfigError, nearest

_POLL_S = 0.25


def log_files(paths: UserPaths, instance: str | None) -> list[Path]:
    """Return the log files of one instance, or of all.

    Raises:
        ConfigError: there is no such log, or none at all.
    """
    files = {path.stem: path for path in sorted(paths.logs.glob("*.log"))}
    if not files:
        raise ConfigError(f"no logs in {paths.logs}: nothing has been served yet")
    if instance is None:
        return list(files.values())
    if instance not in files:
        close = nearest(instance, files)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(files)}"
        raise ConfigError(f"no log of an instance named {instance!r}; {hint}")
    return [files[instance]]


def print_tails(files: Sequence[Path], lines: int) -> None:
    """Print the last lines of each log, each line with its instance when there are several."""
    for path in files:
        for line in tail(path, lines):
            _print(path, line, files)


def follow_logs(files: Sequence[Path]) -> None:
    """Print what is added to the logs until interrupted; a log that is replaced is reopened."""
    offsets = {path: path.stat().st_size for path in files}
    while True:
        for path in files:
            size = path.stat().st_size if path.exists() else 0
            if size < offsets[path]:
                offsets[path] = 0
            if size > offsets[path]:
                with path.open("rb") as file:
                    file.seek(offsets[path])
                    added = file.read(size - offsets[path])
                whole, newline, _ = added.rpartition(b"\n")
                offsets[path] += len(whole) + len(newline)
                for line in whole.decode("utf-8", errors="replace").splitlines():
                    _print(path, line, files)
        time.sleep(_POLL_S)


def _print(path: Path, line: str, files: Sequence[Path]) -> None:
    click.echo(f"{path.stem} | {line}" if len(files) > 1 else line)
