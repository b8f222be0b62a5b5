"""A sweep's outcome as rows of text, for the terminal and for reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sage.benchmark.sweep.outcome import Interval, Level, Outcome, PolicyKnee

COLUMNS = {
    "attainment": ("in SLO, %", 100.0),
    "goodput": ("good/s", 1.0),
    "requests_per_s": ("req/s", 1.0),
    "output_tokens_per_s": ("tok/s", 1.0),
    "ttft_p50_ms": ("TTFT P50", 1.0),
    "ttft_p99_ms": ("TTFT P99", 1.0),
    "tpot_p50_ms": ("TPOT P50", 1.0),
    "tpot_p99_ms": ("TPOT P99", 1.0),
    "e2e_p50_ms": ("E2E P50", 1.0),
    "e2e_p99_ms": ("E2E P99", 1.0),
}
"""Figures that tables show: the heading of each, and what it is multiplied by; latencies in ms."""

DEFAULT_COLUMNS = (
    *("attainment", "goodput", "requests_per_s"),
    *("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "e2e_p99_ms"),
)


def policy_name(policy: str | None) -> str:
    """Return how a policy is written where the server does not say which it is."""
    return policy or "in force"


def heading(outcome: Outcome, columns: Sequence[str]) -> list[str]:
    """Return the headings of `level_rows`."""
    return ["policy", outcome.axis, "class", "runs", *(COLUMNS[name][0] for name in columns)]


def level_rows(
    outcome: Outcome, columns: Sequence[str], *, spans: bool = True
) -> Iterator[list[str]]:
    """Yield a row for each level and class; a single class stands for all of them together.

    Args:
        outcome: whose levels.
        columns: figures to give.
        spans: whether a mean over several seeds has half of its interval's width beside it.
    """
    for level in outcome.levels:
        names = list(level.classes)
        for name in names[:1] if len(names) == 2 else names:
            yield _level_row(level, name, columns, spans)


def _level_row(level: Level, name: str, columns: Sequence[str], spans: bool) -> list[str]:
    figures = level.classes[name]
    cells = [_cell(figures.get(column), COLUMNS[column][1], spans) for column in columns]
    return [policy_name(level.policy), f"{level.value:g}", name, str(level.runs), *cells]


def _cell(found: Interval | None, factor: float, spans: bool) -> str:
    if found is None:
        return ""
    text = _number(found.mean * factor)
    if spans and found.high is not None:
        text += f" ± {_number((found.high - found.mean) * factor)}"
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}"


def knee_lines(outcome: Outcome) -> Iterator[str]:
    """Yield a sentence for each policy's knee."""
    for knee in outcome.knees:
        yield f"{policy_name(knee.policy)}: {_knee(knee, outcome)}"


def _knee(knee: PolicyKnee, outcome: Outcome) -> str:
    target = f"{outcome.target:.0%} in SLO"
    if knee.knee is None:
        lost = min((one for one in knee.by_seed if one.value is None), key=lambda one: one.seed)
        return f"{target} is not reached at {lost.beyond:g} {outcome.unit} (seed {lost.seed})"
    least = "at least " if knee.at_least else ""
    text = f"{target} up to {least}{_span(knee.knee)} {outcome.unit}"
    if knee.difference is not None:
        first = policy_name(outcome.knees[0].policy)
        text += f"; to {first} {_span(knee.difference, sign=True)}: {knee.verdict}"
    return text


def _span(found: Interval, *, sign: bool = False) -> str:
    form = "+.4g" if sign else ".4g"
    if found.low is None or found.high is None:
        return format(found.mean, form)
    return f"{found.mean:{form}} [{found.low:{form}} … {found.high:{form}}]"
