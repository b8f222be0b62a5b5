"""Progress of a job while it is waited for: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sage.dataflow.job import JobHandle
from sage.dataflow.result import OperatorReport

if TYPE_CHECKING:
    from rich.table import Table

TABLE_EVERY = 0.1
LINE_EVERY = 2.0
# A job that ends sooner than this never draws: a flicker tells nobody anything.
QUIET = 0.3


def watch(job: JobHandle, *, force: bool) -> None:
    """Show a job's progress on standard error until it ends.

    Args:
        job: a job that was started.
        force: write lines where there is no terminal; without it, nothing is shown there.
    """
    if sys.stderr.isatty():
        _watch_table(job)
    elif force:
        _watch_lines(job)


def _watch_table(job: JobHandle) -> None:
    if job.poll(QUIET):
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while not job.poll(TABLE_EVERY):
            live.update(progress_table(job.metrics, job.elapsed), refresh=True)


def _watch_lines(job: JobHandle) -> None:
    while not job.poll(LINE_EVERY):
        sys.stderr.write(progress_line(job.metrics, job.elapsed) + "\n")
    sys.stderr.write(progress_line(job.metrics, job.elapsed) + "\n")


def progress_line(reports: tuple[OperatorReport, ...], elapsed: float) -> str:
    """Return one line: for each operator, how many records came out of it."""
    counts = ", ".join(
        f"{report.name} {report.records_out:,}"
        + (f" ({report.failed:,} failed)" if report.failed else "")
        for report in reports
    )
    return f"{elapsed:.1f} s: {counts}"


def progress_table(reports: tuple[OperatorReport, ...], elapsed: float) -> Table:
    """Return a table with a row for each operator: in, out, dropped, failed, records/s."""
    from rich.table import Table

    table = Table(title=f"{elapsed:.1f} s")
    table.add_column("operator")
    for heading in ("in", "out", "dropped", "failed", "records/s"):
        table.add_column(heading, justify="right")
    for report in reports:
        handled = report.records_in or report.records_out
        table.add_row(
            report.name,
            f"{report.records_in:,}",
            f"{report.records_out:,}",
            f"{report.dropped:,}",
            f"{report.failed:,}",
            f"{handled / max(elapsed, 1e-9):,.0f}",
        )
    return table
