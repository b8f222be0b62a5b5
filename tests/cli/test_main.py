"""The ``sage`` and ``sage-dev`` commands as a person types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_lists_every_command() -> None:
    """`sage --help` names each command with a line of help."""
    result = run("sage", "--help")
    assert result.returncode == 0
    assert "llm" in result.stdout
    assert "models" in result.stdout


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    """A typing error costs one line and exit code 2."""
    result = run("sage", "modles")
    assert result.returncode == 2
    assert result.stderr == (
        "error: No such command 'modles'. Did you mean 'models'? See 'sage --help'.\n"
    )


@pytest.mark.parametrize("command", ["llm", "models"])
def test_every_listed_command_loads(command: str) -> None:
    """Nothing in the listing is a dead entry."""
    result = run("sage", command, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: sage" in result.stdout


def test_sage_dev_outside_a_checkout_says_so(tmp_path: Path) -> None:
    """The contributors' commands name the folder they were run in."""
    result = run("sage-dev", "quality", "--check-only", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path} is not inside a checkout of SAGE")


def _snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not {".git", ".venv"} & set(path.parts)
    }


@pytest.mark.timeout(180)
def test_check_only_changes_not_a_byte(tmp_path: Path) -> None:
    """`sage-dev quality --check-only` finds a fault, fails, and leaves the tree as it was."""
    copy = tmp_path / "checkout"
    (copy / "src" / "sage").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    (copy / "src" / "sage" / "__init__.py").write_text("import   os\nx=1\n", encoding="utf-8")
    for layer in ("common", "kernel", "cli", "benchmark", "inference", "dataflow", "config"):
        (copy / "src" / "sage" / layer).mkdir()
        (copy / "src" / "sage" / layer / "__init__.py").touch()
    before = _snapshot(copy)
    result = run("sage-dev", "quality", "--check-only", cwd=copy)
    assert result.returncode == 1
    assert "ruff check" in result.stderr
    assert _snapshot(copy) == before
