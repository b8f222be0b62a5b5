"""Ready-made sweeps, each an answer to one question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import ALL
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.statistics import paired_difference
from sage.benchmark.sweep.axis import AXES, Axis
from sage.benchmark.sweep.outcome import Interval, Level, Outcome, Point
from sage.benchmark.sweep.search import knee_of
from sage.benchmark.sweep.tables import policy_name


@dataclass(frozen=True, slots=True)
class Experiment:
    """A question and the sweep that answers it.

    Attributes:
        name: as users write it.
        question: in a sentence.
        of_knee: loads to try, as shares of the first policy's knee.
        values: to try over the share of chat instead, where the question is about that.
        columns: figures that its table shows.
        findings: says what the outcome answers.
    """

    name: str
    question: str
    of_knee: tuple[float, ...]
    values: tuple[float, ...]
    columns: tuple[str, ...]
    findings: Callable[[Outcome], Iterator[str]]

    def axis(self, config: BenchmarkConfig) -> Axis:
        """Return what it varies: the load of the workload as it comes, or the share of chat."""
        if self.values:
            return AXES["llm_ratio"]
        if config.trace is not None:
            return AXES["time_scale"]
        return AXES["users" if config.arrival is ArrivalPattern.CLOSED else "rate"]

    def loads(self, axis: Axis, knee: float) -> tuple[float, ...]:
        """Return the loads to try around a knee."""
        values = [knee * share for share in self.of_knee]
        if axis.whole:
            return tuple(sorted({float(max(1, round(value))) for value in values}))
        return tuple(float(f"{value:.4g}") for value in values)


def _throughput(outcome: Outcome) -> Iterator[str]:
    for policy, levels in _by_policy(outcome).items():
        most = max(levels, key=lambda level: _mean(level, "requests_per_s"))
        best = max(levels, key=lambda level: _mean(level, "goodput"))
        peak, last = _mean(best, "goodput"), _mean(levels[-1], "goodput")
        kept = f"{last / peak:.0%}" if peak else "nothing"
        yield (
            f"{policy_name(policy)}: at most {_mean(most, 'requests_per_s'):.4g} requests/s and "
            f"{_mean(most, 'output_tokens_per_s'):,.0f} tokens/s; most goodput {peak:.4g}/s, at "
            f"{best.value:g} {outcome.unit}; of that {kept} is left at {levels[-1].value:g}"
        )


def _latency(outcome: Outcome) -> Iterator[str]:
    yield from _compared(outcome, "ttft_p99_ms", "TTFT P99, ms", more_is_better=False)
    yield from _compared(outcome, "e2e_p99_ms", "E2E P99, ms", more_is_better=False)


def _slo(outcome: Outcome) -> Iterator[str]:
    for policy, levels in _by_policy(outcome).items():
        for name in dict.fromkeys(name for level in levels for name in level.classes):
            kept = {
                level.value: _mean(level, "attainment", name) >= outcome.target
                for level in levels
                if name in level.classes
            }
            knee = knee_of(kept)
            upto = "nowhere" if knee.value is None else f"up to {knee.value:g} {outcome.unit}"
            yield f"{policy_name(policy)}, {name}: {outcome.target:.0%} in SLO {upto}"


def _mixed_ratio(outcome: Outcome) -> Iterator[str]:
    yield from _compared(outcome, "goodput", "good/s", more_is_better=True)


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "throughput",
            "How much is served as the load grows past the knee, and how much of it in time?",
            (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0),
            (),
            ("requests_per_s", "output_tokens_per_s", "goodput", "attainment"),
            _throughput,
        ),
        Experiment(
            "latency",
            "How long does a request take as the load comes near the knee?",
            (0.25, 0.5, 0.75, 0.9, 1.0),
            (),
            (
                *("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms"),
                *("e2e_p50_ms", "e2e_p99_ms"),
            ),
            _latency,
        ),
        Experiment(
            "slo",
            "Up to which load is each class in its SLO, and what is left of it beyond?",
            (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0),
            (),
            ("attainment", "goodput", "ttft_p99_ms", "tpot_p99_ms"),
            _slo,
        ),
        Experiment(
            "mixed_ratio",
            "What does each policy make of chat and embeddings, whatever their shares?",
            (),
            (0.0, 0.25, 0.5, 0.75, 1.0),
            ("attainment", "goodput", "requests_per_s", "ttft_p99_ms", "e2e_p99_ms"),
            _mixed_ratio,
        ),
    )
}


def _by_policy(outcome: Outcome) -> dict[str | None, list[Level]]:
    levels: dict[str | None, list[Level]] = {}
    for level in outcome.levels:
        levels.setdefault(level.policy, []).append(level)
    return levels


def _mean(level: Level, figure: str, name: str = ALL) -> float:
    found: Interval | None = level.classes[name].get(figure)
    return 0.0 if found is None else found.mean


def _compared(outcome: Outcome, figure: str, label: str, *, more_is_better: bool) -> Iterator[str]:
    """Compare every policy with the first at each value, over the seeds that both have."""
    first, *others = _by_policy(outcome) or [None]
    for value in sorted({point.value for point in outcome.points}):
        before = _by_seed(outcome.points, first, value, figure)
        for policy in others:
            after = _by_seed(outcome.points, policy, value, figure)
            seeds = sorted(before.keys() & after.keys())
            if seeds:
                pairs = [before[s] for s in seeds], [after[s] for s in seeds]
                text = _difference(*pairs, more_is_better=more_is_better)
                yield (
                    f"{outcome.axis} {value:g}: {policy_name(policy)}'s {label} to "
                    f"{policy_name(first)}'s: {text}"
                )


def _difference(before: Sequence[float], after: Sequence[float], *, more_is_better: bool) -> str:
    found = paired_difference(before, after)
    if not found.real:
        return f"{found.mean:+.4g}, no difference shown"
    verdict = "better" if (found.mean > 0) is more_is_better else "worse"
    return f"{found.mean:+.4g} [{found.low:+.4g} … {found.high:+.4g}], {verdict}"


def _by_seed(
    points: Sequence[Point], policy: str | None, value: float, figure: str
) -> dict[int, float]:
    figures = {
        point.seed: getattr(point.overall, figure)
        for point in points
        if point.policy == policy and point.value == value
    }
    return {seed: found for seed, found in figures.items() if found is not None}
