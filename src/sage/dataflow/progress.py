"""Progress of a job while it is waited for: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from sage.dataflow.rates import Rates
from sage.dataflow.result import OperatorReport

if TYPE_CHECKING:
    from rich.table import Table

TABLE_EVERY = 0.2
LINE_EVERY = 2.0
# A job that ends sooner than this never draws: a flicker tells nobody anything.
QUIET = 0.3
# A terminal of so many columns has room for whole numbers.
WIDE = 120
NAME_WIDTH = 40


class Watched(Protocol):
    """A job whose progress can be shown, here or elsewhere."""

    @property
    def metrics(self) -> tuple[OperatorReport, ...]:
        """A report for each operator, as of now."""

    @property
    def elapsed(self) -> float:
        """Seconds since the job was submitted."""

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; say whether the job has ended."""


def watch(job: Watched, *, force: bool) -> None:
    """Show a job's progress on standard error until it ends.

    Args:
        job: a job that was started.
        force: write lines where there is no terminal; without it, nothing is shown there.
    """
    if sys.stderr.isatty():
        _watch_table(job)
    elif force:
        _watch_lines(job)


def _watch_table(job: Watched) -> None:
    if job.poll(QUIET):
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    rates = Rates()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            reports, elapsed = job.metrics, job.elapsed
            rates.look(elapsed, reports)
            live.update(progress_table(reports, elapsed, rates, console.width), refresh=True)
            if job.poll(TABLE_EVERY):
                return


def _watch_lines(job: Watched) -> None:
    while not job.poll(LINE_EVERY):
        sys.stderr.write(progress_line(job.metrics, job.elapsed) + "\n")
    sys.stderr.write(progress_line(job.metrics, job.elapsed) + "\n")


def progress_line(reports: tuple[OperatorReport, ...], elapsed: float) -> str:
    """Return one line: for each operator, how many records came out of it."""
    if not reports:  # of a job elsewhere that has no process yet, or whose process starts
        return f"{elapsed:.1f} s: no operator runs yet"
    counts = ", ".join(
        f"{report.name} {report.records_out:,}"
        + (f" ({report.failed:,} failed)" if report.failed else "")
        for report in reports
    )
    return f"{elapsed:.1f} s: {counts}"


def progress_table(
    reports: tuple[OperatorReport, ...], elapsed: float, rates: Rates, width: int
) -> Table:
    """Return a table with a row for each operator, never wider than the terminal.

    By operator: records in and out, those that wait before it, those it works on, those it failed
    on, and records a second over the last seconds. Above it, the time since the start and, when the
    size of every source is known, the time left at that speed.

    Args:
        reports: of all operators.
        elapsed: seconds since the start.
        rates: has looked at the same reports.
        width: columns of the terminal.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    wide = width >= WIDE
    # Columns of a fixed width: a table that breathes with its numbers cannot be read.
    cells = 14 if wide else 7
    headings = ("in", "out", "queued", "in flight", "failed", "records/s")
    if not wide:
        headings = ("in", "out", "queued", "flight", "failed", "rec/s")
    table = Table(
        title=Text(_title(elapsed, rates.remaining())),
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("operator", width=_name_width(reports, width, cells), no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", width=cells, no_wrap=True)
    for report in reports:
        counts = (
            report.records_in,
            report.records_out,
            report.queued,
            report.in_flight,
            report.failed,
            rates.per_second(report.name),
        )
        texts = [f"{count:,.0f}" if wide else compact(count) for count in counts]
        failed = "bold red" if report.failed else ""
        table.add_row(Text(report.name), *texts[:4], Text(texts[4], style=failed), texts[5])
    return table


def compact(count: float) -> str:
    """Return a number in at most six characters, as in "12.3k"."""
    if count < 10_000:
        return f"{count:.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"
    for unit in ("k", "M", "G"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f}{unit}" if count < 99.95 else f"{count:.0f}{unit}"
    return f"{count / 1000:.0f}T"


def _name_width(reports: tuple[OperatorReport, ...], width: int, cells: int) -> int:
    from rich.cells import cell_len

    longest = max((cell_len(report.name) for report in reports), default=0)
    # Six columns of numbers, with a space on either side of each.
    room = width - 6 * (cells + 2) - 4
    return max(min(longest, room, NAME_WIDTH), len("operator"))


def _title(elapsed: float, remaining: float | None) -> str:
    left = "" if remaining is None else f", about {_duration(remaining)} left"
    return f"{_duration(elapsed)}{left}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
