"""What happens as the load grows: attainment against rate, latency against throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sage.benchmark.classes import ALL
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
from sage.benchmark.visualize.points import Curves, Point, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 8.6
_COLUMNS = 3

_SPOKEN = 8  # levels that a description lists; of more it gives the ends
_Series = Mapping[str, Mapping[float, Sequence[Point]]]
_Paths = Mapping[str, Sequence[Mapping[float, Sequence[Point]]]]


def attainment_by_load(name: str, curves: Curves) -> Chart:
    """Draw SLO attainment of each class along the axis, a line for each policy.

    Several runs at one value are drawn as their mean and range; the knee is marked where a sweep
    found it, with its interval shaded.
    """
    classes = curves.classes()
    if len(classes) == 2:
        classes = classes[1:]  # of a single class, all together say the same
    series, paths = curves.by_series(), curves.paths()
    columns = min(_COLUMNS, len(classes))
    rows = -(-len(classes) // columns)

    def paint(figure: Figure) -> None:
        boxes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, cls in zip(boxes, classes, strict=False):
            _attainment(axes, paths, cls)
            axes.axhline(curves.target * 100, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            axes.set_title("all classes" if cls == ALL else cls)
            axes.set_ylim(-2, 104)
            if cls == ALL:
                _mark_knees(axes, list(series), curves)
        for axes in boxes[len(classes) :]:
            axes.set_visible(False)
        figure.supxlabel(f"{curves.axis}, {curves.unit}", fontsize=9)
        figure.supylabel("within SLO, % of issued", fontsize=9)
        above(figure, boxes[0])

    return draw(
        name,
        f"SLO attainment against {curves.axis}",
        _attainment_in_words(series, curves),
        (_WIDTH, 0.6 + 2.7 * rows),
        paint,
    )


def latency_by_throughput(name: str, curves: Curves) -> Chart:
    """Draw the latency of all classes together against throughput, a line for each policy."""
    series, paths = curves.by_series(), curves.paths()
    panels = (("E2E P50, ms", "e2e_p50_ms"), ("E2E P99, ms", "e2e_p99_ms"))

    def paint(figure: Figure) -> None:
        boxes = figure.subplots(1, len(panels), sharex=True)
        for axes, (label, key) in zip(boxes, panels, strict=True):
            _path(axes, paths, key)
            axes.set_ylabel(label)
            axes.set_xlabel("requests answered per second")
        above(figure, boxes[0])

    return draw(
        name,
        "Throughput against latency",
        _throughput_in_words(series, curves.axis),
        (_WIDTH, 3.3),
        paint,
    )


def _look(number: int, lines: Sequence[object]) -> dict[str, Any]:
    thin = {"linewidth": 0.9, "markersize": 3} if len(lines) > 1 else {}
    return {
        **thin,
        "color": SERIES[number % len(SERIES)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def _attainment(axes: Axes, paths: _Paths, cls: str) -> None:
    for number, (label, lines) in enumerate(paths.items()):
        look = _look(number, lines)
        for line, levels in enumerate(lines):
            found = {
                value: [share * 100 for share in shares]
                for value, points in levels.items()
                if (shares := values_of(points, cls, "attainment"))
            }
            means = [fmean(one) for one in found.values()]
            axes.plot(list(found), means, label=None if line else label, **look)
            spans = {value: one for value, one in found.items() if len(one) > 1}
            if spans:
                low, high = map(min, spans.values()), map(max, spans.values())
                axes.vlines(list(spans), list(low), list(high), color=look["color"], linewidth=1)


def _path(axes: Axes, paths: _Paths, key: str) -> None:
    drawn: list[float] = []
    for number, (label, lines) in enumerate(paths.items()):
        for line, levels in enumerate(lines):
            pairs = []
            for points in levels.values():
                across = values_of(points, ALL, "requests_per_s")
                up = values_of(points, ALL, key)
                if across and up:
                    pairs.append((fmean(across), fmean(up)))
            drawn += [up for _, up in pairs]
            axes.plot(
                [across for across, _ in pairs],
                [up for _, up in pairs],
                label=None if line else label,
                **_look(number, lines),
            )
    axes.set_xlim(left=0)
    if drawn and logarithmic(min(drawn), max(drawn)):
        axes.set_yscale("log")
        plain_numbers(axes, "y")
    else:
        axes.set_ylim(bottom=0)


def _mark_knees(axes: Axes, series: Sequence[str], curves: Curves) -> None:
    for number, label in enumerate(series):
        found = curves.knees.get(label)
        if found is None or found.knee is None:
            continue
        knee = found.knee
        colour = SERIES[number % len(SERIES)]
        if knee.low is not None and knee.high is not None:
            axes.axvspan(knee.low, knee.high, color=colour, alpha=0.15, linewidth=0)
        axes.axvline(knee.mean, color=colour, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.annotate(
            ("≥ " if found.at_least else "") + f"{knee.mean:.3g}",
            (knee.mean, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 4 + 11 * number),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )


def _attainment_in_words(series: _Series, curves: Curves) -> str:
    parts = [
        "Share of the requests issued that kept every limit of their class: means with the range "
        "of the runs, or a thin line for each seed where a search tried other values with each; "
        f"the dashed level is {curves.target:.0%}."
    ]
    if any(knee.knee for knee in curves.knees.values()):
        parts.append(
            "A dotted line with its value marks the knee, the highest load at which a policy keeps "
            "that; its 95% interval over the seeds is shaded."
        )
    for label, levels in series.items():
        means = [
            f"{fmean(shares):.1%} at {value:.4g}"
            for value, points in levels.items()
            if (shares := values_of(points, ALL, "attainment"))
        ]
        if len(means) > _SPOKEN:
            means = [means[0], "…", means[-1]]
        found = curves.knees.get(label)
        knee = f"; knee at {found.knee.mean:.3g}" if found and found.knee else ""
        parts.append(f"{label}: {', '.join(means)}{knee}.")
    return " ".join(parts)


def _throughput_in_words(series: _Series, axis: str) -> str:
    parts = [
        f"Latency against the requests answered per second, joined in order of {axis}; a line that "
        "turns back has lost throughput to overload."
    ]
    for label, levels in series.items():
        rates = [values_of(points, ALL, "requests_per_s") for points in levels.values()]
        best = max((fmean(one) for one in rates if one), default=0.0)
        parts.append(f"{label}: at most {best:,.4g} requests/s.")
    return " ".join(parts)
