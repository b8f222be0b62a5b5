"""Progress: drawn on a terminal, in lines when asked for, silent otherwise."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from sage.dataflow import LocalEnvironment, OperatorReport
from sage.dataflow.graph import Kind
from sage.dataflow.progress import compact, progress_line, progress_table
from sage.dataflow.rates import Rates


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


def drawn(reports: tuple[OperatorReport, ...], width: int) -> list[str]:
    rates = Rates()
    rates.look(0, reports)
    rates.look(2, tuple(replace(each, records_in=each.records_in * 2) for each in reports))
    console = Console(width=width, file=StringIO())
    console.print(progress_table(reports, 2.0, rates, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def a_report(name: str, **counts: int) -> OperatorReport:
    values = {"records_in": 0, "records_out": 0, "dropped": 0, "failed": 0, "retried": 0}
    return OperatorReport(name, Kind.MAP, 1, **{**values, **counts}, busy=0.0)


def test_table() -> None:
    """The table has a row for each operator, with its counts and its speed."""
    big = a_report("big", records_in=12_345, records_out=1, failed=3, queued=7, in_flight=2)
    lines = drawn((big,), 80)
    assert lines[0].strip() == "2.0 s"
    assert lines[2].split() == ["operator", "in", "out", "queued", "flight", "failed", "rec/s"]
    assert lines[4].split() == ["big", "12.3k", "1", "7", "2", "3", "6172"]
    wide = drawn((big,), 200)
    assert "in flight" in wide[2]
    assert wide[4].split() == ["big", "12,345", "1", "7", "2", "3", "6,172"]


@pytest.mark.parametrize("width", [80, 119, 120, 200])
def test_nothing_wraps(width: int) -> None:
    """Names too long are shortened, names are no markup, and no line is wider than the terminal."""
    reports = tuple(
        a_report(name, records_in=123_456_789_012, queued=999_999, failed=99_999)
        for name in ("x" * 100, "询问模型" * 20, "[bold]b[/bold]")
    )
    lines = drawn(reports, width)
    assert all(cell_len(line) <= width for line in lines)
    assert len([line for line in lines if line.strip()]) == 1 + 1 + 1 + 3
    assert "…" in lines[4]
    assert "[bold]b[/bold]" in lines[6]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (0.44, "0.4"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (999_949, "1.0M"),
        (123_456_789, "123M"),
        (5e12, "5T"),
    ],
)
def test_compact_numbers(count: float, text: str) -> None:
    """Six characters are enough for any count."""
    assert compact(count) == text


def test_live_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a job that takes a while is watched, and ends as it should."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    env = LocalEnvironment()
    env.from_collection(range(10)).map(lambda x: time.sleep(0.06) or x).sink(lambda _: None)
    assert env.submit(autostop=True).records_in == 10


JOB = """
import time
from sage.dataflow import LocalEnvironment

env = LocalEnvironment()
env.from_collection(range(10_000), name="numbers").map(
    lambda x: time.sleep(0.01) or x, parallelism=2, name="slow"
).sink(lambda _: None)
try:
    env.submit(autostop=True)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupt_leaves_the_terminal_clean() -> None:
    """After Ctrl-C the table is gone and the cursor is back."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", JOB],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    ) as process:
        os.close(its)
        seen = b""
        while b"left" not in seen:
            seen += os.read(mine, 65536)
        process.send_signal(signal.SIGINT)
        while b"interrupted" not in seen:
            seen += os.read(mine, 65536)
        process.wait(20)
    os.close(mine)
    shown, hidden = seen.rindex(b"\x1b[?25h"), seen.rindex(b"\x1b[?25l")
    assert hidden < shown
    # Every line of the last table is wiped.
    assert seen[shown:].count(b"\x1b[2K") >= 6
    assert process.returncode == 0


def test_a_line_of_a_job_that_has_not_begun_says_so() -> None:
    """One that runs elsewhere may wait for a process, or for a cluster."""
    assert progress_line((), 2.5) == "2.5 s: no operator runs yet"
