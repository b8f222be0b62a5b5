"""Policies side by side: the same rounds, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sage.benchmark.classes import ALL
from sage.benchmark.run import Run
from sage.benchmark.statistics import Difference, Spread, paired_difference
from sage.benchmark.summary import ClassSummary, Summary


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
        verdict: ``better``, ``worse``, ``no difference shown``, or ``not concluded`` where the
            client was the bottleneck; empty for the first policy.
        cls: the class of the requests, or all of them.
        more_rounds: how many more would show a difference as large as the one seen; 0 where it is
            shown, None for the first policy and where nobody can say or would wait so long.
    """

    metric: str
    policy: str
    mean: float
    difference: Difference | None
    verdict: str
    cls: str = ALL
    more_rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures of all policies.

    Attributes:
        rounds: how many complete ones there were.
        valid: whether the client kept up in every run; otherwise nothing is concluded.
        rows: of all requests and then class by class; within those by figure, then by policy.
    """

    rounds: int
    valid: bool
    rows: list[Row]


def compare_runs(runs: Sequence[Run], policies: Sequence[str]) -> Comparison:
    """Compare the policies over the rounds in which each of them ran to its end."""
    table: dict[int, dict[str, Summary]] = {}
    for run in runs:
        if run.complete and run.policy is not None:
            table.setdefault(run.round, {})[run.policy] = run.summary
    rounds = [table[number] for number in sorted(table) if len(table[number]) == len(policies)]
    used = [run for run in runs if len(table.get(run.round, ())) == len(policies)]
    valid = all(run.verdict.valid for run in used)
    rows = []
    for name in _names(rounds):
        of_class = [{who: _class(one[who], name) for who in policies} for one in rounds]
        for metric in METRICS:
            values = {who: [_value(metric, one[who]) for one in of_class] for who in policies}
            rows += _rows(name, metric, values, valid=valid)
    return Comparison(len(rounds), valid, rows)


def _names(rounds: Sequence[Mapping[str, Summary]]) -> list[str]:
    """All requests first; the classes only where there are several."""
    found = dict.fromkeys(
        summary.name for one in rounds for whole in one.values() for summary in whole.classes
    )
    classes = [name for name in found if name != ALL]
    return [ALL, *(classes if len(classes) > 1 else ())] if rounds else []


def _class(summary: Summary, name: str) -> ClassSummary | None:
    return next((one for one in summary.classes if one.name == name), None)


def _value(metric: Metric, summary: ClassSummary | None) -> float | None:
    return None if summary is None else metric.value(summary)


def _rows(
    cls: str, metric: Metric, values: dict[str, list[float | None]], *, valid: bool
) -> list[Row]:
    known = {name: [v for v in column if v is not None] for name, column in values.items()}
    if any(len(known[name]) < len(values[name]) for name in values):
        return []
    first, *others = known
    rows = [Row(metric.name, first, fmean(known[first]), None, "", cls)]
    for name in others:
        difference = paired_difference(known[first], known[name])
        verdict, more = ("no difference shown" if valid else "not concluded"), None
        if difference.real and valid:
            verdict = "better" if (difference.mean > 0) is metric.more_is_better else "worse"
            more = 0
        elif difference.rounds_needed is not None and valid:
            more = max(1, difference.rounds_needed - len(known[first]))
        mean = fmean(known[name])
        rows.append(Row(metric.name, name, mean, difference, verdict, cls, more))
    return rows
