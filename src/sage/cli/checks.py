"""The style checks of the project, as commands."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Check:
    """One tool run.

    Attributes:
        name: what the terminal shows.
        command: arguments after the interpreter's folder, the tool first.
        fix: the command that mends instead of judging; None when the tool only judges.
    """

    name: str
    command: tuple[str, ...]
    fix: tuple[str, ...] | None = None


# No tool may leave a cache behind under --check-only: not a byte of the tree changes.
CHECKS = (
    Check(
        "ruff check",
        ("ruff", "check", "--no-cache", "."),
        fix=("ruff", "check", "--fix", "."),
    ),
    Check(
        "ruff format",
        ("ruff", "format", "--no-cache", "--check", "."),
        fix=("ruff", "format", "."),
    ),
    Check("mypy", ("mypy", "--cache-dir", "{null}")),
    Check("import layers", ("lint-imports", "--no-cache", "--no-logo")),
)


def project_root(start: Path) -> Path:
    """Return the folder of SAGE's own checkout at or above ``start``.

    Raises:
        ConfigError: there is none; contributors' commands work only in a checkout.
    """
    for folder in (start, *start.parents):
        manifest = folder / "pyproject.toml"
        if manifest.is_file() and 'name = "sage-stack"' in manifest.read_text(encoding="utf-8"):
            return folder
    raise ConfigError(
        f"{start} is not inside a checkout of SAGE; run sage-dev from the project's folder"
    )


def tool_path(tool: str) -> str:
    """Return the path of a tool beside this interpreter.

    Raises:
        ConfigError: it is not installed.
    """
    path = Path(sys.executable).parent / tool
    if not path.exists():
        raise ConfigError(f"{tool} is not installed; run `make setup` (or pip install -e '.[dev]')")
    return str(path)


def run_check(check: Check, root: Path, *, fix: bool) -> int:
    """Run one check in ``root``, its output on the terminal; return its exit code."""
    command = check.fix if fix and check.fix else check.command
    null = "nul" if sys.platform == "win32" else "/dev/null"
    arguments = [argument.format(null=null) for argument in command[1:]]
    return subprocess.run([tool_path(command[0]), *arguments], cwd=root, check=False).returncode
