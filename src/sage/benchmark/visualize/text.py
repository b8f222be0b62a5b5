"""Results as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sage.benchmark.report import breakdowns
from sage.benchmark.sweep.tables import policy_name
from sage.benchmark.visualize.recorded import Recorded
from sage.benchmark.visualize.tables import Table, tables_of


def as_csv(results: Sequence[Recorded]) -> str:
    """Return a line for each run and class, ``all`` among them, with every figure there is.

    Where a run asked several models, engines or tenants, there is one for each of these too; the
    column ``by`` says what a line's ``name`` is.

    Columns are named as in the JSON, a percentile as ``ttft_ms.p99`` and a kind of failure as
    ``failures.timeout``. A figure that a class lacks is left empty.
    """
    rows = [row for result in results for row in (*_runs(result), *_points(result))]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _runs(result: Recorded) -> Iterator[dict[str, Any]]:
    for run in result.runs:
        key = {
            "file": result.name,
            "policy": run.policy,
            "seed": run.seed,
            "round": run.round,
            "rate": result.rate,
            "valid": run.verdict.valid,
            "complete": run.complete,
        }
        of_classes = ("class", run.summary.classes)
        for by, parts in (of_classes, *breakdowns(run.summary)):
            for part in parts:
                yield {**key, "by": by, **dict(_flat("", msgspec.to_builtins(part)))}


def _points(result: Recorded) -> Iterator[dict[str, Any]]:
    outcome = result.sweep
    if outcome is None:
        return
    for point in outcome.points:
        key = {
            "file": result.name,
            "policy": policy_name(point.policy),
            "seed": point.seed,
            outcome.axis: point.value,
            "valid": point.valid,
        }
        for name, figures in point.classes.items():
            yield {**key, "by": "class", "name": name, **msgspec.to_builtins(figures)}


def _flat(prefix: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = prefix + key
        if isinstance(item, dict):
            yield from _flat(f"{name}.", item)
        elif item is not None and not isinstance(item, list | tuple):
            yield name, item


def as_markdown(results: Sequence[Recorded]) -> str:
    """Return the tables of each file under its name."""
    parts = []
    for result in results:
        parts.append(f"## {_cell(result.name)}\n")
        parts += [_markdown(table) for table in tables_of(result)]
    return "\n".join(parts)


def _markdown(table: Table) -> str:
    rules = [":--"] * table.words + ["--:"] * (len(table.head) - table.words)
    lines = [f"{table.caption}:", "", _line(table.head), _line(rules)]
    lines += [_line([_cell(cell) for cell in row]) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    for mark in ("\\", "|", "<", "*", "_", "`"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
