"""What ``sage job list`` and ``sage job show`` print."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sage.dataflow.jobs.wire import JobView, Progress

_COLOURS = {"running": "green", "finished": "green", "failed": "red", "lost": "red"}


def print_jobs(jobs: Iterable[JobView], now: float) -> None:
    """Print a line a job."""
    table = _table("id", "state", "submitted", "took", "error")
    for job in jobs:
        took = _duration((job.ended or now) - job.created)
        table.add_row(
            escape(job.id), _state(job), _time(job.created), took, escape(job.error or "")
        )
    Console().print(table)


def print_job(job: JobView, now: float) -> None:
    """Print all that is known of a job."""
    console = Console()
    facts = _table("", "")
    facts.show_header = False
    for name, value in _facts(job, now):
        facts.add_row(f"[dim]{name}[/dim]", value)
    console.print(facts)
    if job.progress is not None and job.progress.operators:
        console.print(_operators(job.progress))


def _facts(job: JobView, now: float) -> Iterable[tuple[str, str]]:
    yield "job", f"{escape(job.id)} ({escape(job.name)})"
    yield "state", _state(job)
    if job.error is not None:
        yield "error", escape(job.error)
    yield "submitted", _time(job.created)
    yield "took" if job.ended else "for", _duration((job.ended or now) - job.created)
    if job.pid is not None:
        yield "driver", f"pid {job.pid}, number {job.attempt}"
    progress = job.progress
    if progress is not None:
        if progress.resumed_from is not None:
            yield "resumed from", f"checkpoint {progress.resumed_from}"
        yield "restarts", str(progress.restarts)
        if job.checkpoints_dir is not None:
            failed = (
                f", {progress.failed_checkpoints} failed" if progress.failed_checkpoints else ""
            )
            yield "checkpoints", f"{progress.checkpoints}{failed}, in {escape(job.checkpoints_dir)}"
        if progress.dead_letter_count:
            yield "dead letters", f"{progress.dead_letter_count:,}"
        if progress.abandoned:
            yield "abandoned", f"{progress.abandoned:,} records"


def _operators(progress: Progress) -> Table:
    columns = ("in", "out", "dropped", "failed", "retried", "queued")
    table = _table("operator", *columns)
    for report in progress.operators:
        counts = (
            report.records_in,
            report.records_out,
            report.dropped,
            report.failed,
            report.retried,
            report.queued,
        )
        table.add_row(escape(report.name), *(f"{count:,}" for count in counts))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _state(job: JobView) -> str:
    colour = _COLOURS.get(job.state.value)
    return f"[{colour}]{job.state}[/{colour}]" if colour else str(job.state)


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
