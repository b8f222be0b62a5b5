"""A comparison's differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.benchmark.classes import ALL
from sage.benchmark.comparison import Comparison, Row
from sage.benchmark.visualize.figure import BAD, GOOD, INK, MUTED, Chart, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE_PERCENT = 200  # past it a linear axis would press the small differences together
_COLOURS = {"better": GOOD, "worse": BAD}


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    policy: str
    mean: float
    low: float
    high: float
    verdict: str


def differences(name: str, comparison: Comparison, cls: str) -> Chart | None:
    """Draw each figure's difference to the first policy in percent of it, with its 95% interval.

    Args:
        name: of the chart.
        comparison: whose differences.
        cls: the class of the requests, or all of them.

    Returns:
        None when no figure of the class can be given so.
    """
    rows = [row for row in comparison.rows if row.cls == cls]
    lines = _lines(rows)
    if not lines:
        return None
    baseline = next(row.policy for row in rows if row.difference is None)
    which = "all requests" if cls == ALL else f"{cls} requests"

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _paint(axes, lines)
        axes.set_xlabel(f"difference to {baseline}, %")

    return draw(
        name,
        f"Differences to {baseline}, {which}, {_rounds(comparison.rounds)}",
        _description(lines, baseline, comparison.rounds),
        (8.6, 1.1 + 0.27 * len(lines)),
        paint,
    )


def _lines(rows: Sequence[Row]) -> list[_Line]:
    bases = {row.metric: row.mean for row in rows if row.difference is None}
    return [
        _Line(
            row.metric.split(",")[0],
            row.policy,
            row.difference.mean / base * 100,
            row.difference.low / base * 100,
            row.difference.high / base * 100,
            row.verdict,
        )
        for row in rows
        if row.difference is not None and (base := bases.get(row.metric, 0.0)) > 0
    ]


def _rounds(count: int) -> str:
    return f"{count} paired round{'s' * (count != 1)}"


def _paint(axes: Axes, lines: Sequence[_Line]) -> None:
    several = len({line.policy for line in lines}) > 1
    rows = range(len(lines))
    for row, line in zip(rows, lines, strict=True):
        colour = _COLOURS.get(line.verdict, INK)
        marker = {"better": "o", "worse": "X"}.get(line.verdict, "|")
        axes.plot([line.mean], [row], marker=marker, color=colour, markersize=7, linestyle="")
        if math.isfinite(line.low) and math.isfinite(line.high):
            axes.hlines(row, line.low, line.high, color=colour, linewidth=2)
    axes.axvline(0, color=MUTED, linewidth=1)
    reach = [
        abs(value)
        for line in lines
        for value in (line.mean, line.low, line.high)
        if math.isfinite(value)
    ]
    if max(reach) > _WIDE_PERCENT:
        from matplotlib.ticker import FuncFormatter

        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+,.0f}" if value else "0")
        )
    labels = [f"{line.label}, {line.policy}" if several else line.label for line in lines]
    axes.set_yticks(list(rows), labels)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)


def _description(lines: Sequence[_Line], baseline: str, rounds: int) -> str:
    parts = [
        f"Mean difference of each figure to that of {baseline}, in percent of it, over "
        f"{_rounds(rounds)} with the same requests; the bar is the 95% interval. A dot is "
        "better, a cross worse, a bare tick neither."
    ]
    if rounds == 1:
        parts.append("One round has no interval, so no difference is shown.")
    parts += [
        f"{line.policy}, {line.label}: {line.mean:+.1f}%, {line.verdict}."
        for line in lines
        if line.verdict in _COLOURS
    ]
    return " ".join(parts)
