"""One self-contained HTML page of results."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence

from sage.benchmark.classes import ALL
from sage.benchmark.visualize.cdf import latency_cdf
from sage.benchmark.visualize.differences import differences
from sage.benchmark.visualize.figure import Chart
from sage.benchmark.visualize.loads import attainment_by_load, latency_by_throughput
from sage.benchmark.visualize.points import curves_of
from sage.benchmark.visualize.recorded import Recorded
from sage.benchmark.visualize.style import SHEET
from sage.benchmark.visualize.tables import Table, tables_of
from sage.benchmark.visualize.timeline import timeline

# Nothing is fetched, whatever a file's text may hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def as_page(results: Sequence[Recorded], *, title: str = "sage-cp-bench results") -> str:
    """Return the page: charts, tables and configuration of each file; needs no other resource.

    The same results give the same page, to the byte.

    Args:
        results: at least one.
        title: of the page.

    Raises:
        ConfigError: matplotlib is missing.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{html.escape(title)}</title>",
        f"<style>\n{SHEET}</style>",
        "</head>",
        "<body>",
        f"<h1>{html.escape(title)}</h1>",
        *_warnings(results),
        *_together(results),
    ]
    for number, result in enumerate(results):
        parts += _file(number, result)
    parts += ["</body>", "</html>", ""]
    return "\n".join(parts)


def _warnings(results: Sequence[Recorded]) -> Iterator[str]:
    for result in results:
        for run in result.runs:
            name = f"{result.name}, {run.policy}, seed {run.seed}"
            if not run.verdict.valid:
                yield _warning(f"{name}: INVALID: {run.verdict.reason}")
            if not run.complete:
                yield _warning(f"{name}: broken off; its figures are of what was measured")
        if result.sweep is not None and not result.sweep.complete:
            yield _warning(f"{result.name}: broken off before its end")
        if result.sweep is not None and not result.sweep.valid:
            yield _warning(f"{result.name}: INVALID: the client was the bottleneck in some run")


def _warning(text: str) -> str:
    return f'<p class="invalid">{html.escape(text)}</p>'


def _together(results: Sequence[Recorded]) -> Iterator[str]:
    for number, curves in enumerate(curves_of(results)):
        yield "<section>"
        yield f"<h2>As {html.escape(curves.axis)} grows</h2>"
        yield _figure(attainment_by_load(f"attainment{number}", curves))
        yield _figure(latency_by_throughput(f"throughput{number}", curves))
        yield "</section>"


def _file(number: int, result: Recorded) -> Iterator[str]:
    yield "<section>"
    yield f"<h2>{html.escape(result.name)}</h2>"
    figures, *others = tables_of(result)
    yield _table(figures)
    for chart in _charts(f"file{number}", result):
        yield _figure(chart)
    if result.runs and not any(run.requests for run in result.runs):
        yield "<p>The file lists no requests (--no-raw), so it has no distribution or timeline.</p>"
    yield from map(_table, others)
    yield "<details><summary>Configuration</summary>"
    settings = json.dumps(result.about["config"], indent=2, ensure_ascii=False)
    yield f"<pre>{html.escape(settings)}</pre></details>"
    yield "</section>"


def _charts(prefix: str, result: Recorded) -> Iterator[Chart]:
    charts: list[Chart | None] = []
    if result.comparison is not None:
        compared = dict.fromkeys(row.cls for row in result.comparison.rows)
        charts += [
            differences(f"{prefix}-differences{index}", result.comparison, cls)
            for index, cls in enumerate(compared)
        ]
    names = dict.fromkeys(
        item.name for run in result.runs for item in run.summary.classes if item.name != ALL
    )
    charts += [
        latency_cdf(f"{prefix}-cdf{index}", result.runs, name, result.limits(name))
        for index, name in enumerate(names)
    ]
    charts.append(timeline(f"{prefix}-timeline", result.runs))
    yield from (chart for chart in charts if chart)


def _figure(chart: Chart) -> str:
    return (
        f"<figure>\n<h3>{html.escape(chart.title)}</h3>\n"
        f'<div class="scroll" tabindex="0">{chart.svg}</div>\n'
        f"<figcaption>{html.escape(chart.description)}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(number, table)}>{html.escape(name)}</th>'
        for number, name in enumerate(table.head)
    )
    caption = html.escape(table.caption)
    lines = [
        # It scrolls when it is wide, so the keyboard must reach it.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>',
        f"<caption>{caption}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
    ]
    for row in table.rows:
        first, *others = row
        cells = "".join(
            f"<td{_kind(number, table)}>{html.escape(cell)}</td>"
            for number, cell in enumerate(others, 1)
        )
        lines.append(f'<tr><th scope="row" class="word">{html.escape(first)}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>", "</table></div>"])


def _kind(number: int, table: Table) -> str:
    return ' class="word"' if number < table.words else ""
