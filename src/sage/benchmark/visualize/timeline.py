"""What was waiting and what was being answered, over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sage.benchmark.visualize.figure import INK, MUTED, SERIES, Chart, above, draw
from sage.benchmark.visualize.recorded import RecordedRequest, RecordedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOMENTS = 720
_LABELLED = 12

Span = tuple[float, float]


def timeline(name: str, runs: Sequence[RecordedRun]) -> Chart | None:
    """Draw queue, in-flight and policy, the runs end to end in the order they ran.

    Returns:
        None when no run lists its requests.
    """
    listed = [run for run in runs if run.requests]
    if not listed:
        return None
    lengths = [max(item.ended_s for item in run.requests) for run in listed]
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    policies = list(dict.fromkeys(run.policy for run in listed))

    def paint(figure: Figure) -> None:
        band, axes = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 11], "hspace": 0.02}
        )
        _policies(band, listed, starts, lengths, policies)
        moments_each = max(60, _MOMENTS // len(listed))
        for run, start, length in zip(listed, starts, lengths, strict=True):
            _counts(axes, run, start, length, moments_each, labelled=run is listed[0])
            if start:
                axes.axvline(start, color=MUTED, linewidth=0.7)
        axes.set_xlabel("seconds, runs end to end" if len(listed) > 1 else "seconds")
        axes.set_ylabel("requests")
        axes.set_xlim(0, starts[-1] + lengths[-1])
        axes.set_ylim(bottom=0)
        above(figure, axes, beside=band if len(listed) > _LABELLED else None)

    return draw(
        name,
        "Queue, in-flight and policy over time",
        _description(listed),
        (8.6, 3.3),
        paint,
    )


def waiting(request: RecordedRequest) -> Span:
    """From when it was due until its first token, or its end without one."""
    first = request.first_token_s
    return request.intended_s, request.ended_s if first is None else first


def in_flight(request: RecordedRequest) -> Span:
    """From when it left until its end."""
    return request.sent_s, request.ended_s


def counts(spans: Sequence[Span], moments: Sequence[float]) -> list[int]:
    """How many of the spans cover each moment; a span's end is not part of it."""
    starts = sorted(start for start, _ in spans)
    ends = sorted(end for _, end in spans)
    return [bisect_right(starts, moment) - bisect_right(ends, moment) for moment in moments]


def _policies(
    band: Axes,
    runs: Sequence[RecordedRun],
    starts: Sequence[float],
    lengths: Sequence[float],
    policies: Sequence[str],
) -> None:
    labels = len(runs) <= _LABELLED
    for run, start, length in zip(runs, starts, lengths, strict=True):
        colour = SERIES[policies.index(run.policy) % len(SERIES)]
        first = run is next(one for one in runs if one.policy == run.policy)
        band.axvspan(
            start, start + length, color=colour, alpha=0.35, label=run.policy if first else None
        )
        if labels:
            band.text(start + length / 2, 0.5, run.policy, ha="center", va="center", color=INK)
    band.set_ylim(0, 1)
    band.grid(visible=False)
    band.set_yticks([])
    band.tick_params(bottom=False, labelbottom=False)
    for spine in band.spines.values():
        spine.set_visible(False)


def _counts(
    axes: Axes, run: RecordedRun, start: float, length: float, moments: int, *, labelled: bool
) -> None:
    offsets = [length * number / moments for number in range(moments + 1)]
    drawn: tuple[tuple[str, Callable[[RecordedRequest], Span], str, str], ...] = (
        ("in flight: left, not ended", in_flight, SERIES[0], "-"),
        ("queue: due, no token yet", waiting, SERIES[1], "--"),
    )
    for label, span, colour, dash in drawn:
        values = counts([span(request) for request in run.requests], offsets)
        axes.plot(
            [start + offset for offset in offsets],
            values,
            color=colour,
            linestyle=dash,
            linewidth=1.2,
            label=label if labelled else None,
        )


def _description(runs: Sequence[RecordedRun]) -> str:
    parts = [
        "Requests in flight, from leaving to their end, and in the queue, from when they were due "
        "to their first token, as the client saw them; the band above names the policy in force."
    ]
    for run in runs[:_LABELLED]:
        moments = sorted({request.intended_s for request in run.requests})
        queue = max(counts([waiting(request) for request in run.requests], moments), default=0)
        flight = [in_flight(request) for request in run.requests]
        out = max(counts(flight, sorted(start for start, _ in flight)), default=0)
        parts.append(f"{run.policy}, seed {run.seed}: at most {out} in flight, {queue} in queue.")
    if len(runs) > _LABELLED:
        parts.append(f"The other {len(runs) - _LABELLED} runs are drawn, not described.")
    return " ".join(parts)
