"""What happens as the load grows: attainment against rate, latency against throughput."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from sage.benchmark.classes import ALL
from sage.benchmark.summary import ClassSummary
from sage.benchmark.visualize.figure import (
    DASHES,
    MARKERS,
    MUTED,
    SERIES,
    Chart,
    above,
    draw,
    logarithmic,
    plain_numbers,
)
from sage.benchmark.visualize.points import Point, by_series, classes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 8.6
_COLUMNS = 3


def attainment_by_rate(
    name: str, points: Sequence[Point], knees: Mapping[str, float], target: float
) -> Chart | None:
    """Draw SLO attainment of each class against the rate asked for, a line for each policy.

    Args:
        name: of the chart.
        points: of all policies; several at one rate are drawn as their mean and range.
        knees: the highest rate at which a policy keeps the target, where it is known.
        target: the attainment asked for, as a share.

    Returns:
        None when there are fewer than two rates.
    """
    if len({point.rate for point in points}) < 2:
        return None
    classes = classes_of(points)
    if len(classes) == 2:
        classes = classes[1:]  # of a single class all together say the same
    series = by_series(points)
    columns = min(_COLUMNS, len(classes))
    rows = -(-len(classes) // columns)

    def paint(figure: Figure) -> None:
        boxes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, cls in zip(boxes, classes, strict=False):
            _lines(axes, series, cls, lambda item: item.attainment * 100)
            axes.axhline(target * 100, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            axes.set_title("all classes" if cls == ALL else cls)
            axes.set_ylim(-2, 104)
            if cls == ALL:
                _mark_knees(axes, list(series), knees)
        for axes in boxes[len(classes) :]:
            axes.set_visible(False)
        figure.supxlabel("requests per second asked for", fontsize=9)
        figure.supylabel("within SLO, % of issued", fontsize=9)
        above(figure, boxes[0])

    return draw(
        name,
        "SLO attainment against rate",
        _attainment_in_words(series, knees, target),
        (_WIDTH, 0.6 + 2.7 * rows),
        paint,
    )


def latency_by_throughput(name: str, points: Sequence[Point]) -> Chart | None:
    """Draw the latency of all classes together against throughput, a line for each policy.

    Returns:
        None when there are fewer than two rates.
    """
    if len({point.rate for point in points}) < 2:
        return None
    series = by_series(points)
    panels = [
        ("E2E P50, ms", _p50),
        ("E2E P99, ms", _p99),
    ]

    def paint(figure: Figure) -> None:
        boxes = figure.subplots(1, len(panels), sharex=True)
        for axes, (label, value) in zip(boxes, panels, strict=True):
            _path(axes, series, value)
            axes.set_ylabel(label)
            axes.set_xlabel("requests answered per second")
        above(figure, boxes[0])

    return draw(
        name,
        "Throughput against latency",
        _throughput_in_words(series),
        (_WIDTH, 3.3),
        paint,
    )


def _p50(item: ClassSummary) -> float | None:
    return item.e2e_ms.p50 if item.e2e_ms else None


def _p99(item: ClassSummary) -> float | None:
    return item.e2e_ms.p99 if item.e2e_ms else None


_Series = Mapping[str, Mapping[float, Sequence[Point]]]


def _values(
    points: Sequence[Point], cls: str, value: Callable[[ClassSummary], float | None]
) -> list[float]:
    figures = [item for point in points if (item := point.figures(cls)) is not None]
    return [found for item in figures if (found := value(item)) is not None]


def _lines(
    axes: Axes, series: _Series, cls: str, value: Callable[[ClassSummary], float | None]
) -> None:
    for number, (label, rates) in enumerate(series.items()):
        found = {rate: _values(points, cls, value) for rate, points in rates.items()}
        found = {rate: values for rate, values in found.items() if values}
        means = [fmean(values) for values in found.values()]
        colour = SERIES[number % len(SERIES)]
        axes.plot(
            list(found),
            means,
            color=colour,
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            label=label,
        )
        if any(len(values) > 1 for values in found.values()):
            axes.vlines(
                list(found),
                [min(values) for values in found.values()],
                [max(values) for values in found.values()],
                color=colour,
                linewidth=1,
            )


def _path(axes: Axes, series: _Series, value: Callable[[ClassSummary], float | None]) -> None:
    drawn: list[float] = []
    for number, (label, rates) in enumerate(series.items()):
        pairs = []
        for points in rates.values():
            across = _values(points, ALL, lambda item: item.requests_per_s)
            up = _values(points, ALL, value)
            if across and up:
                pairs.append((fmean(across), fmean(up)))
        drawn += [up for _, up in pairs]
        axes.plot(
            [across for across, _ in pairs],
            [up for _, up in pairs],
            color=SERIES[number % len(SERIES)],
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
            label=label,
        )
    axes.set_xlim(left=0)
    if drawn and logarithmic(min(drawn), max(drawn)):
        axes.set_yscale("log")
        plain_numbers(axes, "y")
    else:
        axes.set_ylim(bottom=0)


def _mark_knees(axes: Axes, series: Sequence[str], knees: Mapping[str, float]) -> None:
    for number, label in enumerate(series):
        if label not in knees:
            continue
        colour = SERIES[number % len(SERIES)]
        axes.axvline(knees[label], color=colour, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            f"{knees[label]:.3g}",
            (knees[label], 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 4 + 11 * number),
            textcoords="offset points",
            fontsize=8,
        )


def _attainment_in_words(series: _Series, knees: Mapping[str, float], target: float) -> str:
    parts = [
        "Share of the requests issued that kept every limit of their class, against the rate asked "
        f"for, means with the range of the runs; the dashed level is {target:.0%}."
    ]
    if knees:
        parts.append(
            "A dotted line with its rate marks the knee, the highest rate at which a policy "
            "keeps that."
        )
    for label, rates in series.items():
        ends = [
            (rate, _values(points, ALL, lambda s: s.attainment)) for rate, points in rates.items()
        ]
        shown = [f"{fmean(values):.1%} at {rate:g}/s" for rate, values in ends if values]
        knee = f", knee at {knees[label]:.3g}/s" if label in knees else ""
        parts.append(f"{label}: {', '.join(shown)}{knee}.")
    return " ".join(parts)


def _throughput_in_words(series: _Series) -> str:
    parts = [
        "Latency against the requests answered per second, each point a rate, joined in order of "
        "the rate asked for; a line that turns back has lost throughput to overload."
    ]
    for label, rates in series.items():
        best = max(
            fmean(_values(points, ALL, lambda s: s.requests_per_s) or [0.0])
            for points in rates.values()
        )
        parts.append(f"{label}: at most {best:,.4g} requests/s.")
    return " ".join(parts)
