"""Progress: drawn on a terminal, in lines when asked for, silent otherwise."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from sage.dataflow import LocalEnvironment
from sage.dataflow.progress import progress_table


def test_silent_where_there_is_no_terminal(
    env: LocalEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written unless asked for."""
    env.from_collection([1]).sink(lambda _: None)
    env.submit(autostop=True)
    env.submit(autostop=True, progress=False)
    assert capsys.readouterr() == ("", "")


def test_lines_when_asked_for(env: LocalEnvironment, capsys: pytest.CaptureFixture[str]) -> None:
    """progress=True writes lines on standard error, the last one with the final counts."""
    env.from_collection([1, 2]).map(str).sink(lambda _: None, name="out")
    env.submit(autostop=True, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("collection 2, str 2, out 2\n")


def test_table() -> None:
    """The table has a row for each operator."""
    env = LocalEnvironment()
    env.from_collection(range(5)).filter(lambda x: x > 3, name="big").sink(print, name="out")
    env.submit(autostop=True, progress=False)
    assert env.last_job is not None
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(progress_table(env.last_job.metrics, 2.0))
    row = next(line for line in capture.get().splitlines() if "big" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["big", "5", "1", "4", "0", "2"]


def test_live_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a job that takes a while is watched, and ends as it should."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    env = LocalEnvironment()
    env.from_collection(range(10)).map(lambda x: time.sleep(0.06) or x).sink(lambda _: None)
    assert env.submit(autostop=True).records_in == 10
