"""The figures of requests that have something in common: a class, a model, an instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sage.benchmark.exchange import Exchange
from sage.benchmark.gaps import gap_spread
from sage.benchmark.intervals import Interval, Stretches
from sage.benchmark.latency import e2e_ms, meets, tpot_ms, ttft_ms
from sage.benchmark.statistics import Spread, spread

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """The figures of one class, or of all; likewise of one model, instance or tenant.

    Latencies are milliseconds over the answered requests, from when each should have left.

    Attributes:
        name: the class.
        issued: requests judged.
        answered: those with a good answer.
        failures: the others, by kind.
        slo_met: answered within every limit.
        attainment: slo_met / issued: a failure is a miss.
        requests_per_s: answered, over the time from the first to leave to the last to end.
        goodput: slo_met over the same time.
        output_tokens_per_s: tokens generated over the same time.
        prompt_tokens: mean that the server counted; 0 when it did not say.
        output_tokens: mean of the answered.
        ttft_ms: to the first token.
        tpot_ms: a request's mean time for each token after the first.
        itl_ms: gaps between events with tokens, of all requests together.
        e2e_ms: to the answer's end.
        delay_ms: from when a request should have left until it left.
        queue_ms: in the gateway's queue, from a request's arrival there until it first went to an
            engine, as the gateway says in its answer; None where it does not.
        intervals: 95% intervals of ``attainment``, ``goodput`` and of percentiles, such as
            ``ttft_ms.p99``; of classes alone, and empty where the run is too short for any.
    """

    name: str
    issued: int
    answered: int
    failures: dict[str, int]
    slo_met: int
    attainment: float
    requests_per_s: float
    goodput: float
    output_tokens_per_s: float
    prompt_tokens: float
    output_tokens: float
    ttft_ms: Spread | None
    tpot_ms: Spread | None
    itl_ms: Spread | None
    e2e_ms: Spread | None
    delay_ms: Spread | None
    queue_ms: Spread | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)


def class_summary(
    name: str,
    exchanges: Sequence[Exchange],
    duration: float,
    stretches: Stretches | None = None,
) -> ClassSummary:
    """Return the figures of some requests of a run.

    Args:
        name: of what they have in common.
        exchanges: none of them interrupted.
        duration: seconds of the whole run.
        stretches: the whole run's, for intervals; None for no intervals.
    """
    answered = [item for item in exchanges if item.failure is None]
    chat = [item for item in answered if item.token_times]
    failures = Counter(item.failure.value for item in exchanges if item.failure is not None)
    good = list(map(meets, exchanges))
    met = sum(good)
    tokens = sum(item.output_tokens for item in answered)
    per_s = 1 / duration if duration > 0 else 0.0
    each = 1 / len(answered) if answered else 0.0
    paced = [(item, value) for item in chat if (value := tpot_ms(item)) is not None]
    ttft = _Samples("ttft_ms", chat, [ttft_ms(item) for item in chat])
    tpot = _Samples("tpot_ms", [item for item, _ in paced], [value for _, value in paced])
    e2e = _Samples("e2e_ms", answered, [e2e_ms(item) for item in answered])
    intervals: dict[str, Interval] = {}
    if stretches is not None:
        intervals = _of_rates(exchanges, good, met * per_s, stretches)
        for samples in (ttft, tpot, e2e):
            intervals.update(samples.intervals(stretches))
    return ClassSummary(
        name=name,
        issued=len(exchanges),
        answered=len(answered),
        failures=dict(sorted(failures.items())),
        slo_met=met,
        attainment=met / len(exchanges) if exchanges else 0.0,
        requests_per_s=len(answered) * per_s,
        goodput=met * per_s,
        output_tokens_per_s=tokens * per_s,
        prompt_tokens=sum(item.prompt_tokens for item in answered) * each,
        output_tokens=tokens * each,
        ttft_ms=spread(ttft.values),
        tpot_ms=spread(tpot.values),
        itl_ms=gap_spread([item.token_times for item in chat]),
        e2e_ms=spread(e2e.values),
        delay_ms=spread([(item.sent - item.intended) * 1000 for item in exchanges]),
        queue_ms=spread([item.queue_ms for item in answered if item.queue_ms is not None]),
        intervals=intervals,
    )


def _of_rates(
    exchanges: Sequence[Exchange], good: Sequence[bool], goodput: float, stretches: Stretches
) -> dict[str, Interval]:
    resampled = stretches.of(item.intended for item in exchanges)
    if resampled is None:
        return {}
    found = {"attainment": resampled.share(good), "goodput": resampled.total(good, goodput)}
    return {name: interval for name, interval in found.items() if interval is not None}


@dataclass(frozen=True, slots=True)
class _Samples:
    """One latency of the requests that have it."""

    name: str
    exchanges: Sequence[Exchange]
    values: list[float]

    def intervals(self, stretches: Stretches) -> dict[str, Interval]:
        resampled = stretches.of(item.intended for item in self.exchanges)
        if resampled is None:
            return {}
        ordered = sorted(self.values)
        found = {
            f"{self.name}.{label}": resampled.quantile(self.values, ordered, share)
            for label, share in _SHARES.items()
        }
        return {name: interval for name, interval in found.items() if interval is not None}
