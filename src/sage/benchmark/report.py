"""Results as tables on a terminal and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sage.benchmark.beside import show_beside
from sage.benchmark.comparison import Comparison, Row
from sage.benchmark.config import BenchmarkConfig, mode_of
from sage.benchmark.exchange import Exchange
from sage.benchmark.machine import machine, versions
from sage.benchmark.run import Run
from sage.benchmark.statistics import Spread
from sage.benchmark.summary import ClassSummary, Summary
from sage.benchmark.target import Found

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMAT = 1
"""Of the JSON document; one more when older files can no longer be read as the new ones are."""

_LATENCIES = (
    ("TTFT", "ttft_ms"),
    ("TPOT", "tpot_ms"),
    ("ITL", "itl_ms"),
    ("E2E", "e2e_ms"),
    ("queue", "queue_ms"),
    ("delay", "delay_ms"),
)
_SHARES = {
    "mean": "mean",
    "P50": "p50",
    "P90": "p90",
    "P95": "p95",
    "P99": "p99",
    "P99.9": "p999",
}
_RAW_COLUMNS = (
    "index",
    "class",
    "intended_s",
    "sent_s",
    "first_token_s",
    "ended_s",
    "status",
    "failure",
    "prompt_tokens",
    "output_tokens",
    "instance",
    "interrupted",
    "queue_ms",
    "tenant",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where results come from.

    Attributes:
        command: the command line.
        started: when, in ISO 8601.
    """

    command: str
    started: str


def document(
    config: BenchmarkConfig,
    found: Found,
    origin: Origin,
    runs: Sequence[Run],
    comparison: Comparison | None = None,
    *,
    raw: bool = True,
) -> dict[str, Any]:
    """Return everything as plain values for JSON.

    Args:
        config: as it was in force.
        found: what was measured.
        origin: how to do it again.
        runs: in the order they ran.
        comparison: of the runs, when they are one.
        raw: whether each request is listed; moments are seconds from the run's start.
    """
    result: dict[str, Any] = {
        "format": FORMAT,
        "command": origin.command,
        "started": origin.started,
        "seed": config.seed,
        "target": {"url": found.url, "models": msgspec.to_builtins(found.models)},
        "config": {"mode": mode_of(config), **msgspec.to_builtins(config)},
        "classes": msgspec.to_builtins(config.request_classes()),
        "machine": machine(),
        "versions": versions(),
        "runs": [_run(run, raw) for run in runs],
    }
    if comparison is not None:
        result["comparison"] = msgspec.to_builtins(comparison)
    return result


def encode(result: dict[str, Any]) -> bytes:
    """Return the document as indented JSON; numbers that JSON lacks become null."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def _run(run: Run, raw: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "policy": run.policy,
        "seed": run.seed,
        "round": run.round,
        "simulated": run.simulated,
        "summary": msgspec.to_builtins(run.summary),
        "verdict": msgspec.to_builtins(run.verdict),
        "connections": run.load.connections,
        "servers": msgspec.to_builtins(run.servers),
        "gpus": msgspec.to_builtins(run.gpus),
    }
    if raw:
        began = run.load.began
        rows = [_raw(exchange, began) for exchange in run.load.exchanges]
        result["requests"] = {"columns": _RAW_COLUMNS, "rows": rows}
    return result


def _raw(exchange: Exchange, began: float) -> tuple[Any, ...]:
    times = exchange.token_times
    return (
        exchange.request.index,
        exchange.request.cls,
        round(exchange.intended - began, 6),
        round(exchange.sent - began, 6),
        round(times[0] - began, 6) if times else None,
        round(exchange.ended - began, 6),
        exchange.status,
        exchange.failure.value if exchange.failure else None,
        exchange.prompt_tokens,
        exchange.output_tokens,
        exchange.instance,
        exchange.interrupted,
        exchange.queue_ms,
        exchange.request.tenant,
    )


def terminal_table(title: str | None, columns: Sequence[str], *, words: int) -> Table:
    """Return an empty table that fits narrow terminals, and never shortens what stands in it.

    Args:
        title: above it.
        columns: their names.
        words: how many columns from the left hold words; the others hold numbers.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    for number, name in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number < words else "right"
        table.add_column(name, justify=justify, overflow="fold")
    return table


def show_run(run: Run, console: Console) -> None:
    """Draw one run: latencies by class, then what became of the requests, then the verdict."""
    title = f"policy {run.policy}" if run.policy else "the server's own policy"
    table = terminal_table(f"{title}, seed {run.seed}", ("class", "ms", *_SHARES), words=2)
    for summary in _distinct(run.summary.classes):
        for label, attribute in _LATENCIES:
            spread: Spread | None = getattr(summary, attribute)
            if spread is not None:
                cells = [f"{getattr(spread, share):,.1f}" for share in _SHARES.values()]
                table.add_row(summary.name, label, *cells)
        table.add_section()
    console.print(table)
    console.print(_outcomes("class", _distinct(run.summary.classes)))
    for label, parts in breakdowns(run.summary):
        console.print(_outcomes(label, parts))
    counts = run.summary.counts
    console.print(
        f"{counts.planned} requests: {counts.judged} judged ({counts.answered} answered, "
        f"{counts.failed} failed), {counts.cut} cut, {counts.interrupted} interrupted, "
        f"{counts.unsent} unsent; {run.summary.duration_s:.1f} s",
        highlight=False,
    )
    if fairness := run.summary.fairness:
        console.print(
            f"fairness over {fairness.tenants} tenants (Jain): {fairness.goodput:.3f} of goodput, "
            f"{fairness.attainment:.3f} of attainment",
            highlight=False,
        )
    show_beside(run, console)
    show_verdict(run, console)


def show_verdict(run: Run, console: Console) -> None:
    """Say whether the client kept up."""
    if run.simulated:
        console.print("simulated time: no client had a part in these figures", highlight=False)
        return
    verdict = run.verdict
    if not verdict.valid:
        console.print(f"INVALID: {verdict.reason}", style="bold red", highlight=False)
        return
    console.print(
        f"client: kept up; requests left at most {verdict.send_lag_p99_ms:.1f} ms late (P99), "
        f"{verdict.cpu_share:.0%} of a core used",
        highlight=False,
    )


def breakdowns(summary: Summary) -> Iterator[tuple[str, Sequence[ClassSummary]]]:
    """Yield what else the figures are given by, and the figures: where there are two at least."""
    for label, parts in (
        ("model", summary.models),
        ("instance", summary.instances),
        ("tenant", summary.tenants),
    ):
        if len(parts) > 1:
            yield label, parts


def _outcomes(label: str, summaries: Sequence[ClassSummary]) -> Table:
    names = (label, "issued", "answered", "failed", "in SLO", "share", "req/s", "good/s", "tok/s")
    table = terminal_table(None, names, words=1)
    for summary in summaries:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.failures.items())
        table.add_row(
            summary.name,
            str(summary.issued),
            str(summary.answered),
            kinds or "0",
            str(summary.slo_met),
            f"{summary.attainment:.1%}",
            f"{summary.requests_per_s:.2f}",
            f"{summary.goodput:.2f}",
            f"{summary.output_tokens_per_s:.1f}",
        )
    return table


def _distinct(classes: Sequence[ClassSummary]) -> Sequence[ClassSummary]:
    """With a single class, all of them together are that class."""
    return classes[:1] if len(classes) == 2 else classes


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Draw each figure of each policy with its difference to the first policy."""
    if not comparison.rows:
        console.print("no round was complete, so there is nothing to compare", style="bold red")
        return
    several = len({row.cls for row in comparison.rows}) > 1
    words = (*(("class",) if several else ()), "figure", "policy", "verdict")
    table = terminal_table(
        f"{comparison.rounds} paired rounds; differences to the first policy, 95% interval",
        (*words, "mean", "difference", "interval"),
        words=len(words),
    )
    last = ("", "")
    for row in comparison.rows:
        group = (row.cls, row.metric)
        if last[0] and group != last:
            table.add_section()
        label = (row.cls if row.cls != last[0] else "", row.metric if group != last else "")
        table.add_row(*label[0 if several else 1 :], *_comparison_cells(row))
        last = group
    console.print(table)
    if comparison.rounds == 1:
        console.print("one round shows no difference; give --rounds 5 or more", style="yellow")
    if not comparison.valid:
        console.print(
            "INVALID: the client was the bottleneck in at least one run", style="bold red"
        )


def _comparison_cells(row: Row) -> tuple[str, ...]:
    difference, verdict = row.difference, row.verdict
    cells = ["", ""]
    if difference is not None:
        interval = f"{difference.low:+,.2f} … {difference.high:+,.2f}"
        cells = [f"{difference.mean:+,.2f}", interval]
    if row.more_rounds:
        verdict += f"; {row.more_rounds} more round{'s' * (row.more_rounds > 1)} might"
    return (row.policy, verdict, f"{row.mean:,.2f}", *cells)
