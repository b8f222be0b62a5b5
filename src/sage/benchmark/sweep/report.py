"""A sweep's outcome on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.report import Origin, document, encode, terminal_table
from sage.benchmark.sweep.outcome import Outcome
from sage.benchmark.sweep.tables import (
    DEFAULT_COLUMNS,
    heading,
    knee_lines,
    level_rows,
)
from sage.benchmark.target import Found

if TYPE_CHECKING:
    from rich.console import Console


def show_outcome(
    outcome: Outcome, console: Console, columns: Sequence[str] = DEFAULT_COLUMNS
) -> None:
    """Draw each level of load, then say where each policy's knee is."""
    if not outcome.points:
        console.print("no run was complete, so there is nothing to show", style="bold red")
        return
    names = heading(outcome, columns)
    table = terminal_table("means over the seeds; latencies in ms", names, words=1)
    last = None
    for row in level_rows(outcome, columns, spans=False):
        if last is not None and row[0] != last:
            table.add_section()
        last = row[0]
        table.add_row(*row)
    console.print(table)
    for line in knee_lines(outcome):
        console.print(line, highlight=False)
    if not outcome.complete:
        console.print("broken off before its end", style="yellow")
    if not outcome.valid:
        text = "INVALID: the client was the bottleneck in at least one run"
        console.print(text, style="bold red")


def as_json(
    outcome: Outcome,
    config: BenchmarkConfig,
    found: Found,
    origin: Origin,
    *,
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """Return all there is to say: of the runs no more than the figures that it compares.

    Configuration, target, machine and versions, the outcome under ``sweep``, and what ``extra``
    adds beside it.
    """
    whole = document(config, found, origin, [])
    return encode({**whole, "sweep": msgspec.to_builtins(outcome), **(extra or {})})
