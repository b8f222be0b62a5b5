"""docs/reports.md does what it says."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sage.benchmark.cli import cli
from sage.cli.run import run_cli
from tests.documents import code_blocks


def test_blocks_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In order, in one folder, since the later ones read what the first ones write."""
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks("docs/reports.md")
    assert [block.language for block in blocks] == ["bash", "python"]
    lines = blocks[0].text.splitlines()
    for line in lines:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        assert run_cli(cli, "sage-cp-bench") == 0
    exec(compile(blocks[1].text, str(blocks[1]), "exec"), {"__name__": "block"})
    written = {"r30.json", "r60.json", "r30.md", "both.html", "both.csv", "tables.md"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == written
