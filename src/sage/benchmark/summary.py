"""What a run's exchanges amount to: by class and together, by model, instance and tenant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sage.benchmark.class_summary import ClassSummary, class_summary
from sage.benchmark.classes import ALL, TrafficClass
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.fairness import Fairness, jain
from sage.benchmark.intervals import Stretches
from sage.benchmark.latency import e2e_ms, meets, tpot_ms, ttft_ms
from sage.benchmark.load import LoadResult
from sage.benchmark.wire import Models

__all__ = [
    "ClassSummary",
    "Counts",
    "Summary",
    "e2e_ms",
    "meets",
    "summarise",
    "tpot_ms",
    "ttft_ms",
]

NO_INSTANCE = "none"
"""What stands for the instance of requests that none answered."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the requests of a run went.

    planned = judged + cut + interrupted + unsent, and judged = answered + failed.

    Attributes:
        planned: those of the workload.
        unsent: not yet due when the run was broken off.
        interrupted: out when the run was broken off.
        cut: issued in the seconds cut at start and end.
        judged: all that the figures are about.
        answered: with a good answer.
        failed: without one.
    """

    planned: int
    unsent: int
    interrupted: int
    cut: int
    judged: int
    answered: int
    failed: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run.

    Attributes:
        counts: where its requests went.
        duration_s: seconds from when the first should have left until the last ended.
        classes: by class; the last is all of them together.
        models: by the model asked; empty where nobody said which.
        instances: by the instance that answered, where the gateway names it; ``none`` is for the
            requests that no instance answered. Empty where none is named.
        tenants: by whose requests they were; empty with fewer than two.
        fairness: over the tenants; None with fewer than two.
    """

    counts: Counts
    duration_s: float
    classes: list[ClassSummary]
    models: list[ClassSummary] = field(default_factory=list)
    instances: list[ClassSummary] = field(default_factory=list)
    tenants: list[ClassSummary] = field(default_factory=list)
    fairness: Fairness | None = None

    @property
    def overall(self) -> ClassSummary:
        """The figures over all classes."""
        return self.classes[-1]


def summarise(
    result: LoadResult,
    config: BenchmarkConfig,
    models: Models | None = None,
    *,
    details: bool = True,
) -> Summary:
    """Return the figures of a load.

    Args:
        result: of the load.
        config: that it followed.
        models: whom it asked, for figures by model.
        details: False for the classes' figures alone, without intervals; it is faster.
    """
    finished = [item for item in result.exchanges if not item.interrupted]
    judged = _judged(finished, config)
    duration = 0.0
    if judged:
        duration = max(e.ended for e in judged) - min(e.intended for e in judged)
    stretches = _stretches(judged, config.seed) if details else None
    classes = _classes(judged, config, duration, stretches)
    overall = classes[-1]
    counts = Counts(
        planned=len(result.exchanges) + result.unsent,
        unsent=result.unsent,
        interrupted=len(result.exchanges) - len(finished),
        cut=len(finished) - len(judged),
        judged=overall.issued,
        answered=overall.answered,
        failed=overall.issued - overall.answered,
    )
    if not details:
        return Summary(counts, duration, classes)
    parts = _Parts(judged, duration, overall)
    tenants = parts.by(lambda item: item.request.tenant)
    tenants = tenants if len(tenants) > 1 else []
    named = any(item.instance for item in judged)
    return Summary(
        counts,
        duration,
        classes,
        parts.by(lambda item: _model(item, models)) if models is not None else [],
        parts.by(lambda item: item.instance or NO_INSTANCE) if named else [],
        tenants,
        _fairness(tenants) if tenants else None,
    )


def _judged(exchanges: Sequence[Exchange], config: BenchmarkConfig) -> list[Exchange]:
    if not exchanges or not (config.cut_start_s or config.cut_end_s):
        return list(exchanges)
    first = min(item.intended for item in exchanges) + config.cut_start_s
    last = max(item.intended for item in exchanges) - config.cut_end_s
    return [item for item in exchanges if first <= item.intended <= last]


def _stretches(judged: Sequence[Exchange], seed: int) -> Stretches:
    """Each at least as long as the mean time of a request, answered or not."""
    mean = sum(map(e2e_ms, judged)) / 1000 / max(1, len(judged))
    return Stretches([item.intended for item in judged], least_s=mean, seed=seed)


def _classes(
    judged: Sequence[Exchange],
    config: BenchmarkConfig,
    duration: float,
    stretches: Stretches | None,
) -> list[ClassSummary]:
    parts: dict[str, list[Exchange]] = {one.name: [] for one in config.request_classes()}
    for exchange in judged:
        parts.setdefault(exchange.request.cls, []).append(exchange)
    classes = [
        class_summary(name, part, duration, stretches) for name, part in parts.items() if part
    ]
    if len(classes) == 1:
        return [*classes, replace(classes[0], name=ALL)]
    return [*classes, class_summary(ALL, judged, duration, stretches)]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the requests of a run are told apart by."""

    judged: Sequence[Exchange]
    duration: float
    overall: ClassSummary

    def by(self, name: Callable[[Exchange], str]) -> list[ClassSummary]:
        parts: dict[str, list[Exchange]] = {}
        for item in self.judged:
            parts.setdefault(name(item), []).append(item)
        if len(parts) == 1:
            return [replace(self.overall, name=one, intervals={}) for one in parts]
        return [class_summary(one, parts[one], self.duration) for one in sorted(parts)]


def _model(exchange: Exchange, models: Models) -> str:
    chat = exchange.request.traffic is TrafficClass.CHAT
    return (models.chat if chat else models.embedding) or ""


def _fairness(tenants: Sequence[ClassSummary]) -> Fairness:
    return Fairness(
        len(tenants),
        jain([one.goodput for one in tenants]),
        jain([one.attainment for one in tenants]),
    )
