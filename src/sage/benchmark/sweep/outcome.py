"""What a sweep found: each run, the mean of each level of load, and the knees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sage.benchmark.statistics import paired_difference
from sage.benchmark.summary import ClassSummary
from sage.benchmark.sweep.search import Knee, knee_of


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval (Student's t); the ends are None with a single sample."""

    mean: float
    low: float | None
    high: float | None


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one value, with its interval."""
    if len(values) == 1:
        return Interval(values[0], None, None)
    found = paired_difference([0.0] * len(values), values)
    return Interval(found.mean, found.low, found.high)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one run and class that levels of load are compared by.

    Attributes:
        issued: requests judged.
        failed: those without a good answer.
        attainment: share of them answered within every limit, 0 to 1.
        goodput: such requests per second.
        requests_per_s: answered.
        output_tokens_per_s: generated.
        ttft_p50_ms: to the first token, like the other latencies over the answered and from when
            each should have left; None where there is none.
        ttft_p99_ms: the same.
        tpot_p50_ms: for each further token.
        tpot_p99_ms: the same.
        e2e_p50_ms: to the answer's end.
        e2e_p99_ms: the same.
    """

    issued: int
    failed: int
    attainment: float
    goodput: float
    requests_per_s: float
    output_tokens_per_s: float
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    e2e_p50_ms: float | None
    e2e_p99_ms: float | None


def figures_of(summary: ClassSummary) -> Figures:
    """Return the figures of a run's class."""
    ttft, tpot, e2e = summary.ttft_ms, summary.tpot_ms, summary.e2e_ms
    return Figures(
        issued=summary.issued,
        failed=summary.issued - summary.answered,
        attainment=summary.attainment,
        goodput=summary.goodput,
        requests_per_s=summary.requests_per_s,
        output_tokens_per_s=summary.output_tokens_per_s,
        ttft_p50_ms=ttft.p50 if ttft else None,
        ttft_p99_ms=ttft.p99 if ttft else None,
        tpot_p50_ms=tpot.p50 if tpot else None,
        tpot_p99_ms=tpot.p99 if tpot else None,
        e2e_p50_ms=e2e.p50 if e2e else None,
        e2e_p99_ms=e2e.p99 if e2e else None,
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One run.

    Attributes:
        policy: in force; None when the server does not say.
        value: on the axis.
        seed: of its requests.
        valid: whether the client kept up.
        classes: figures by class; the last, ``all``, is of all of them together.
    """

    policy: str | None
    value: float
    seed: int
    valid: bool
    classes: dict[str, Figures]

    @property
    def overall(self) -> Figures:
        """The figures over all classes."""
        return list(self.classes.values())[-1]


@dataclass(frozen=True, slots=True)
class Level:
    """One policy at one value, over all seeds that were tried there.

    Attributes:
        policy: in force.
        value: on the axis.
        runs: how many.
        classes: by class, then by figure; a figure that a run lacks is left out.
    """

    policy: str | None
    value: float
    runs: int
    classes: dict[str, dict[str, Interval]]


@dataclass(frozen=True, slots=True)
class SeedKnee:
    """Where one seed's runs of a policy lost the target: after ``value``, by ``beyond``."""

    seed: int
    value: float | None
    beyond: float | None


@dataclass(frozen=True, slots=True)
class PolicyKnee:
    """The knee of one policy.

    Attributes:
        policy: whose.
        by_seed: each seed's own.
        knee: over the seeds; None when the target was lost at every value of some seed.
        at_least: whether some seed never lost the target, so that the knee may be higher.
        difference: to the first policy, over the seeds where both were found; None for the first,
            or without such a seed.
        verdict: ``higher``, ``lower`` or ``no difference shown``; empty without a difference.
    """

    policy: str | None
    by_seed: tuple[SeedKnee, ...]
    knee: Interval | None
    at_least: bool
    difference: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a sweep found.

    Attributes:
        axis: what was varied.
        unit: of its values.
        target: attainment that the knee keeps.
        complete: False when it was broken off.
        valid: whether the client kept up in every run.
        points: every complete run, as they came.
        levels: by policy, then by value.
        knees: by policy; empty where the axis is not one of load.
    """

    axis: str
    unit: str
    target: float
    complete: bool
    valid: bool
    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    knees: tuple[PolicyKnee, ...]


def levels_of(points: Sequence[Point]) -> tuple[Level, ...]:
    """Return the mean figures by policy, in their order of appearance, and by rising value."""
    groups: dict[tuple[str | None, float], list[Point]] = {}
    for point in points:
        groups.setdefault((point.policy, point.value), []).append(point)
    policies = list(dict.fromkeys(point.policy for point in points))
    keys = sorted(groups, key=lambda key: (policies.index(key[0]), key[1]))
    return tuple(_level(policy, value, groups[policy, value]) for policy, value in keys)


def _level(policy: str | None, value: float, points: Sequence[Point]) -> Level:
    classes: dict[str, dict[str, list[float]]] = {}
    for point in points:
        for name, figures in point.classes.items():
            columns = classes.setdefault(name, {})
            for key, figure in asdict(figures).items():
                if figure is not None:
                    columns.setdefault(key, []).append(figure)
    means = {
        name: {key: interval(column) for key, column in columns.items()}
        for name, columns in classes.items()
    }
    return Level(policy, value, len(points), means)


def knees_of(points: Sequence[Point], target: float) -> tuple[PolicyKnee, ...]:
    """Return the knee of each policy, each compared with the first policy's, seed by seed."""
    tried: dict[str | None, dict[int, dict[float, bool]]] = {}
    for point in points:
        kept = point.overall.attainment >= target
        tried.setdefault(point.policy, {}).setdefault(point.seed, {})[point.value] = kept
    found = {
        policy: {seed: knee_of(kept) for seed, kept in seeds.items()}
        for policy, seeds in tried.items()
    }
    first = next(iter(found), None)
    return tuple(
        _policy_knee(policy, knees, None if policy == first else found[first])
        for policy, knees in found.items()
    )


def _policy_knee(
    policy: str | None, knees: Mapping[int, Knee], first: Mapping[int, Knee] | None
) -> PolicyKnee:
    values = [knee.value for knee in knees.values()]
    known = [value for value in values if value is not None]
    difference, verdict = None, ""
    if first is not None:
        pairs = [
            (before, after)
            for seed, knee in knees.items()
            if (before := _known(first.get(seed))) is not None
            and (after := _known(knee)) is not None
        ]
        if pairs:
            difference, verdict = _difference(pairs)
    return PolicyKnee(
        policy,
        tuple(SeedKnee(seed, knee.value, knee.beyond) for seed, knee in knees.items()),
        interval(known) if known and len(known) == len(values) else None,
        any(knee.beyond is None for knee in knees.values()),
        difference,
        verdict,
    )


def _known(knee: Knee | None) -> float | None:
    """A knee that may be anywhere above what was tried cannot be compared."""
    return None if knee is None or knee.beyond is None else knee.value


def _difference(pairs: Sequence[tuple[float, float]]) -> tuple[Interval, str]:
    found = paired_difference([before for before, _ in pairs], [after for _, after in pairs])
    verdict = "no difference shown"
    if found.real:
        verdict = "higher" if found.mean > 0 else "lower"
    bounds = (found.low, found.high) if len(pairs) > 1 else (None, None)
    return Interval(found.mean, *bounds), verdict
