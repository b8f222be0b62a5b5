"""``sage-cp-bench simulate --bounds``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage.benchmark.cli import cli
from sage.cli.run import run_cli

LOAD = ("--rate", "80", "--requests", "150", "--prompt-tokens", "2000", "--engines", "1")


def _simulate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["sage-cp-bench", "simulate", *arguments])
    return run_cli(cli, "sage-cp-bench")


def test_a_run_is_set_beside_reference_and_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The three counts are said, ascend, and are in the file."""
    output = tmp_path / "result.json"
    assert _simulate(monkeypatch, *LOAD, "--bounds", "--output", str(output)) == 0
    told = json.loads(output.read_text())["bounds"]
    assert told["good"] <= told["reference"] <= told["bound"] < told["issued"] == 150
    said = " ".join(capsys.readouterr().out.split())
    assert f"in SLO: {told['good']} of 150; reference {told['reference']}" in said


def test_without_the_flag_no_time_is_spent_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A result without bounds says nothing of them."""
    output = tmp_path / "result.json"
    assert _simulate(monkeypatch, *LOAD, "--output", str(output)) == 0
    assert "bounds" not in json.loads(output.read_text())


def test_a_closed_loop_has_no_bounds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why, before anything is simulated."""
    code = _simulate(monkeypatch, "--arrival", "closed", "--users", "4", "--bounds")
    assert code == 2
    assert "bounds are for an open loop" in capsys.readouterr().err
