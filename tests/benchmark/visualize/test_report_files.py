"""Reports as the commands write them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from .support import compared

_SIMULATED = ("simulate", "--rate", "40", "--requests", "50")


def test_reports_of_a_run(bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each form that was asked for, and the page that visualize makes of the JSON is the same."""
    paths = [tmp_path / name for name in ("r.html", "r.md", "r.csv")]
    output = tmp_path / "r.json"
    flags = [flag for path in paths for flag in ("--report", str(path))]
    assert bench(*_SIMULATED, "--output", str(output), *flags) == 0
    out = capsys.readouterr().out
    assert all(f"report written to {path}" in out for path in paths)
    for path in paths:
        again = tmp_path / f"again{path.suffix}"
        assert bench("visualize", str(output), "--out", str(again)) == 0
        assert again.read_bytes() == path.read_bytes()
        assert b"fifo" in path.read_bytes()


def test_reports_of_a_sweep(bench: Any, tmp_path: Path) -> None:
    """The page has its curves; another ending is refused before anything is measured."""
    line = ("sweep", "--simulate", "--rates", "20,40", "--requests", "50", "--rounds", "1")
    page = tmp_path / "s.html"
    assert bench(*line, "--report", str(page)) == 0
    assert "SLO attainment against rate" in page.read_text(encoding="utf-8")
    assert bench(*line, "--report", str(tmp_path / "s.txt")) == 2


def test_a_report_that_could_not_be_written(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Is said before anything is measured, in one line."""
    for name, said in (("r.pdf", ".html, .md, .csv"), ("gone/r.html", "there is no folder")):
        assert bench(*_SIMULATED, "--report", str(tmp_path / name)) == 2
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""


def test_without_matplotlib(
    bench: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page says how to install it, before anything is measured; the other forms need none."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert bench(*_SIMULATED, "--report", str(tmp_path / "r.html")) == 2
    printed = capsys.readouterr()
    assert "pip install 'sage-stack[bench]'" in printed.err
    assert printed.out == ""
    assert bench(*_SIMULATED, "--report", str(tmp_path / "r.md")) == 0


def test_a_damaged_file_is_one_line(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And no page is written."""
    torn = tmp_path / "torn.json"
    torn.write_bytes(compared()[:1000])
    out = tmp_path / "page.html"
    assert bench("visualize", str(torn), "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert "torn.json: damaged" in error
    assert error.count("\n") == 1
    assert not out.exists()
