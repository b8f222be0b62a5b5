"""The tables of a report, whatever it is written in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sage.benchmark.comparison import Comparison
from sage.benchmark.fairness import Fairness
from sage.benchmark.report import breakdowns
from sage.benchmark.statistics import Spread
from sage.benchmark.summary import ClassSummary
from sage.benchmark.sweep.outcome import Outcome
from sage.benchmark.sweep.tables import DEFAULT_COLUMNS, heading, knee_lines, level_rows
from sage.benchmark.visualize.recorded import Recorded, RecordedRun

_LATENCIES = (
    ("TTFT", "ttft_ms", ("p50", "p99")),
    ("TPOT", "tpot_ms", ("p50", "p99")),
    ("ITL", "itl_ms", ("p99",)),
    ("E2E", "e2e_ms", ("p50", "p99")),
    ("queue", "queue_ms", ("p99",)),
)
_RUN = ("policy", "seed")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, as they are shown.

    Attributes:
        caption: what it holds.
        head: names of the columns.
        rows: each with as many cells.
        words: how many columns from the left hold words; the others hold numbers.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


def tables_of(result: Recorded) -> Iterator[Table]:
    """Yield figures, where the requests went, the comparison, and how it was measured."""
    if result.sweep is not None:
        yield from _sweep(result.sweep)
    else:
        yield _figures(result)
        yield _outcomes(result)
        yield from _breakdowns(result)
    if result.comparison is not None and result.comparison.rows:
        yield _comparison(result.comparison)
    yield _origin(result)


def _sweep(outcome: Outcome) -> Iterator[Table]:
    rows = list(level_rows(outcome, DEFAULT_COLUMNS))
    caption = (
        f"Figures by policy, {outcome.axis} and class: means over the seeds with half of their 95% "
        "interval; latencies in ms from when each request should have left"
    )
    yield Table(caption, heading(outcome, DEFAULT_COLUMNS), rows, 1)
    if outcome.knees:
        lines = [line.split(": ", 1) for line in knee_lines(outcome)]
        yield Table("Knees", ["policy", "knee"], lines, 2)


def distinct(classes: Sequence[ClassSummary]) -> Sequence[ClassSummary]:
    """With a single class, all of them together are that class."""
    return classes[:1] if len(classes) == 2 else classes


def _figures(result: Recorded) -> Table:
    rows = [
        [*_key(run), summary.name, *_cells(summary)]
        for run in result.runs
        for summary in distinct(run.summary.classes)
    ]
    caption = (
        "Figures by run and class; latencies in ms from when a request should have left; "
        "in brackets 95% intervals"
    )
    return Table(caption, _head("class"), rows, len(_RUN) + 1)


def _breakdowns(result: Recorded) -> Iterator[Table]:
    """One table for each thing that figures are by, with all runs in it."""
    rows: dict[str, list[list[str]]] = {}
    for run in result.runs:
        for label, parts in breakdowns(run.summary):
            found = [[*_key(run), part.name, *_cells(part)] for part in parts]
            rows.setdefault(label, []).extend(found)
    for label, lines in rows.items():
        yield Table(f"Figures by {label}", _head(label), lines, len(_RUN) + 1)
    fair = [run for run in result.runs if run.summary.fairness is not None]
    if fair:
        lines = [[*_key(run), *_fairness(run.summary.fairness)] for run in fair]
        head = [*_RUN, "tenants", "goodput", "attainment"]
        yield Table("Fairness over tenants, Jain's index", head, lines, len(_RUN))


def _fairness(found: Fairness | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [str(found.tenants), f"{found.goodput:.3f}", f"{found.attainment:.3f}"]


def _head(label: str) -> list[str]:
    head = [*_RUN, label, "issued", "within SLO, %", "req/s", "good/s", "tok/s"]
    return head + [f"{name} {share.upper()}" for name, _, shares in _LATENCIES for share in shares]


def _key(run: RecordedRun) -> list[str]:
    return [run.policy, str(run.seed)]


def _cells(summary: ClassSummary) -> list[str]:
    cells = [
        str(summary.issued),
        f"{summary.attainment * 100:.1f}" + _ends(summary, "attainment", ".1f", 100),
        f"{summary.requests_per_s:,.2f}",
        f"{summary.goodput:,.2f}" + _ends(summary, "goodput", ",.2f"),
        f"{summary.output_tokens_per_s:,.1f}",
    ]
    for _, attribute, shares in _LATENCIES:
        spread: Spread | None = getattr(summary, attribute)
        cells += [f"{getattr(spread, share):,.1f}" if spread else "–" for share in shares]
    return cells


def _ends(summary: ClassSummary, name: str, form: str, factor: float = 1) -> str:
    found = summary.intervals.get(name)
    if found is None:
        return ""
    high = "" if found.high is None else format(found.high * factor, form)
    return f" [{found.low * factor:{form}} … {high}]"


def _outcomes(result: Recorded) -> Table:
    head = [*_RUN, "client", "failures by kind", "planned", "unsent", "interrupted", "cut"]
    head += ["judged", "answered", "failed"]
    rows = []
    for run in result.runs:
        counts = run.summary.counts
        kinds = ", ".join(f"{count} {kind}" for kind, count in run.summary.overall.failures.items())
        numbers = [counts.planned, counts.unsent, counts.interrupted, counts.cut]
        numbers += [counts.judged, counts.answered, counts.failed]
        rows.append([*_key(run), _client(run), kinds or "none", *map(str, numbers)])
    caption = "Where the requests went, and whether the client kept up"
    return Table(caption, head, rows, len(_RUN) + 2)


def _client(run: RecordedRun) -> str:
    if run.simulated:
        return "none: simulated time"
    return "kept up" if run.verdict.valid else f"INVALID: {run.verdict.reason}"


def _comparison(comparison: Comparison) -> Table:
    rows = []
    for row in comparison.rows:
        difference = interval = ""
        if row.difference is not None:
            difference = f"{row.difference.mean:+,.2f}"
            ends = (row.difference.low, row.difference.high)
            known = all(math.isfinite(end) for end in ends)
            interval = "{:+,.2f} … {:+,.2f}".format(*ends) if known else "not known"
        verdict = row.verdict
        if row.more_rounds:
            verdict += f"; {row.more_rounds} more round{'s' * (row.more_rounds > 1)} might"
        words = [row.cls, row.metric, row.policy, verdict]
        rows.append([*words, f"{row.mean:,.2f}", difference, interval])
    return Table(
        f"{comparison.rounds} paired rounds; differences to the first policy, 95% interval",
        ["class", "figure", "policy", "verdict", "mean", "difference", "interval"],
        rows,
        4,
    )


def _origin(result: Recorded) -> Table:
    about = result.about
    target = about.get("target", {})
    rows = [["file", result.name]]
    rows += [[key, str(about[key])] for key in ("command", "started", "seed") if key in about]
    rows += [["target", str(target.get("url", ""))]] if target else []
    for key in ("machine", "versions"):
        parts = about.get(key, {})
        rows.append([key, ", ".join(f"{name} {value}" for name, value in parts.items())])
    return Table("How it was measured", ["what", "value"], rows, 2)
