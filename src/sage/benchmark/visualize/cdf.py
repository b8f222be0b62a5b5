"""How latencies are spread: the share of requests answered by a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sage.benchmark.visualize.figure import (
    DASHES,
    MUTED,
    SERIES,
    Chart,
    above,
    draw,
    logarithmic,
    plain_numbers,
)
from sage.benchmark.visualize.recorded import RecordedRequest, RecordedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 300
_TAIL = 40
_LEAST_MS = 0.01  # what a logarithmic axis shows of an answer that took no time at all


def latency_cdf(
    name: str, runs: Sequence[RecordedRun], cls: str, limits: Mapping[str, float]
) -> Chart | None:
    """Draw TTFT and E2E of one class, a line for each policy, all its runs together.

    Requests without a good answer count as never answered: a line ends as far below 100% as there
    were of them.

    Args:
        name: of the chart.
        runs: those with their requests listed.
        cls: the class.
        limits: its SLO in milliseconds, under ``ttft_ms`` and ``e2e_ms``; those there are.

    Returns:
        None when no run lists a request of the class.
    """
    requests: dict[str, list[RecordedRequest]] = {}
    for run in runs:
        mine = [item for item in run.requests if item.name == cls]
        if mine:
            requests.setdefault(run.policy, []).extend(mine)
    if not requests:
        return None
    panels = [
        ("TTFT", "ttft_ms", {policy: _ttft(items) for policy, items in requests.items()}),
        ("E2E", "e2e_ms", {policy: _e2e(items) for policy, items in requests.items()}),
    ]
    panels = [panel for panel in panels if any(panel[2].values())]
    issued = {policy: len(items) for policy, items in requests.items()}

    def paint(figure: Figure) -> None:
        boxes = figure.subplots(1, len(panels) or 1, sharey=True, squeeze=False)[0]
        for axes, (label, key, values) in zip(boxes, panels, strict=False):
            _panel(axes, label, values, issued, limits.get(key))
        boxes[0].set_ylabel("requests answered by then, %")
        above(figure, boxes[0])

    return draw(
        name,
        f"Latency of {cls} requests",
        _description(cls, panels, issued),
        (8.6, 3.3),
        paint,
    )


def _ttft(items: Iterable[RecordedRequest]) -> list[float]:
    return sorted(
        (item.first_token_s - item.intended_s) * 1000
        for item in items
        if item.first_token_s is not None and not item.failed
    )


def _e2e(items: Iterable[RecordedRequest]) -> list[float]:
    return sorted((item.ended_s - item.intended_s) * 1000 for item in items if not item.failed)


def _panel(
    axes: Axes,
    label: str,
    values: Mapping[str, Sequence[float]],
    issued: Mapping[str, int],
    limit: float | None,
) -> None:
    known = [column for column in values.values() if column]
    highest = max(column[-1] for column in known)
    log = logarithmic(
        max(_LEAST_MS, min(column[0] for column in known)), max(highest, limit or 0.0)
    )
    if log:
        axes.set_xscale("log")
    for number, (policy, column) in enumerate(values.items()):
        ranks = _ranks(len(column))
        axes.step(
            [max(_LEAST_MS, column[rank]) for rank in ranks],
            [(rank + 1) / issued[policy] * 100 for rank in ranks],
            where="post",
            color=SERIES[number % len(SERIES)],
            linestyle=DASHES[number % len(DASHES)],
            label=policy,
        )
    if limit is not None:
        axes.axvline(limit, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.annotate(
            "SLO",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            color=MUTED,
            fontsize=8,
        )
    if log:
        plain_numbers(axes, "x")
    axes.set_ylim(0, 101)
    axes.set_xlabel(f"{label}, ms" + (" (logarithmic)" if log else ""))


def _ranks(count: int) -> list[int]:
    """At most so many of the ranks that no eye misses the others; the tail's are all there."""
    if count <= _POINTS:
        return list(range(count))
    body = {round(number * (count - 1) / _POINTS) for number in range(_POINTS + 1)}
    return sorted(body | set(range(count - _TAIL, count)))


def _description(
    cls: str,
    panels: Sequence[tuple[str, str, Mapping[str, Sequence[float]]]],
    issued: Mapping[str, int],
) -> str:
    parts = [
        f"Share of the {cls} requests answered by a time, counted from when each should have left; "
        "a request without a good answer never is."
    ]
    for label, _, values in panels:
        for policy, column in values.items():
            half = (issued[policy] + 1) // 2
            median = f"{column[half - 1]:,.0f} ms" if len(column) >= half else "not reached"
            parts.append(
                f"{label} of {policy}: {len(column)} of {issued[policy]} answered, "
                f"half by {median}."
            )
    return " ".join(parts)
