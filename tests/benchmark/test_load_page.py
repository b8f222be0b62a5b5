"""Every command of docs/load.md runs, on the very traces that it shows."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sage.benchmark.arrivals import PATTERNS
from sage.benchmark.cli import cli
from sage.cli.run import run_cli
from tests.documents import ROOT, CodeBlock, code_blocks

_BLOCKS = code_blocks("docs/load.md")
_TRACES = [block for block in _BLOCKS if block.language in ("csv", "json")]
_COMMANDS = [
    line
    for block in _BLOCKS
    if block.language == "bash"
    for line in block.text.replace("\\\n", "").splitlines()
]


def _write(block: CodeBlock, folder: Path) -> None:
    """Write a trace to the file that the text before it names last."""
    before = "\n".join(block.path.read_text().splitlines()[: block.line - 1])
    path = folder / before.split("`")[-2]
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.text)


@pytest.mark.parametrize("command", _COMMANDS)
def test_the_command_runs(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In simulated time, whole, with nothing left out; the page says that it takes a target."""
    for block in _TRACES:
        _write(block, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", [*shlex.split(command), "--simulate"])
    assert run_cli(cli, "sage-cp-bench") == 0
    shown = capsys.readouterr().out
    assert "0 unsent" in shown
    assert " 0 failed" in shown


def test_the_page_names_each_process_and_flag() -> None:
    """Each arrival process in its table, each flag of lengths, sessions and traces, five files."""
    page = (ROOT / "docs" / "load.md").read_text()
    for pattern in PATTERNS:
        assert f"| `{pattern}`" in page
    flags = ("prompt", "output", "embedding", "system")
    for flag in (*(f"{name}-tokens" for name in flags), "turns", "think", "time-scale"):
        assert f"`--{flag}" in page
    assert len(_TRACES) == 5
