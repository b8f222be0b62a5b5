"""Policies side by side: the same rounds, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from sage.benchmark.run import Run
from sage.benchmark.statistics import Difference, Spread, paired_difference
from sage.benchmark.summary import ClassSummary


def _of_spread(name: str, share: str) -> Callable[[ClassSummary], float | None]:
    def value(summary: ClassSummary) -> float | None:
        spread: Spread | None = getattr(summary, name)
        return None if spread is None else float(getattr(spread, share))

    return value


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that policies are compared by.

    Attributes:
        name: with its unit.
        value: the figure of a run, None when it has none.
        more_is_better: which way is good.
    """

    name: str
    value: Callable[[ClassSummary], float | None]
    more_is_better: bool


METRICS = (
    Metric("goodput, requests/s", lambda s: s.goodput, True),
    Metric("SLO attainment, %", lambda s: s.attainment * 100, True),
    Metric("throughput, requests/s", lambda s: s.requests_per_s, True),
    Metric("TTFT P50, ms", _of_spread("ttft_ms", "p50"), False),
    Metric("TTFT P99, ms", _of_spread("ttft_ms", "p99"), False),
    Metric("TPOT P50, ms", _of_spread("tpot_ms", "p50"), False),
    Metric("E2E P50, ms", _of_spread("e2e_ms", "p50"), False),
    Metric("E2E P99, ms", _of_spread("e2e_ms", "p99"), False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one policy, against the first policy.

    Attributes:
        metric: its name.
        policy: whose.
        mean: over the rounds.
        difference: to the first policy, round by round; None for the first itself.
        verdict: ``better``, ``worse``, or ``no difference shown``; empty for the first.
    """

    metric: str
    policy: str
    mean: float
    difference: Difference | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures of all policies.

    Attributes:
        rounds: how many complete ones there were.
        valid: whether the client kept up in every run; otherwise nothing is concluded.
        rows: by figure, then by policy.
    """

    rounds: int
    valid: bool
    rows: list[Row]


def compare_runs(runs: Sequence[Run], policies: Sequence[str]) -> Comparison:
    """Compare the policies over the rounds in which each of them ran to its end."""
    table: dict[int, dict[str, ClassSummary]] = {}
    for run in runs:
        if run.complete and run.policy is not None:
            table.setdefault(run.round, {})[run.policy] = run.summary.overall
    rounds = [table[number] for number in sorted(table) if len(table[number]) == len(policies)]
    used = [run for run in runs if len(table.get(run.round, ())) == len(policies)]
    rows = []
    for metric in METRICS if rounds else ():
        values = {name: [metric.value(one[name]) for one in rounds] for name in policies}
        rows += _rows(metric, values)
    return Comparison(len(rounds), all(run.verdict.valid for run in used), rows)


def _rows(metric: Metric, values: dict[str, list[float | None]]) -> list[Row]:
    known = {name: [v for v in column if v is not None] for name, column in values.items()}
    if any(len(known[name]) < len(values[name]) for name in values):
        return []
    first, *others = known
    rows = [Row(metric.name, first, fmean(known[first]), None, "")]
    for name in others:
        difference = paired_difference(known[first], known[name])
        verdict = "no difference shown"
        if difference.real:
            verdict = "better" if (difference.mean > 0) is metric.more_is_better else "worse"
        rows.append(Row(metric.name, name, fmean(known[name]), difference, verdict))
    return rows
