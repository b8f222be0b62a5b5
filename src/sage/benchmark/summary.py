"""What a run's exchanges amount to, by class and together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sage.benchmark.classes import ALL
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.gaps import gap_spread
from sage.benchmark.load import LoadResult
from sage.benchmark.statistics import Spread, spread


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
class ClassSummary:
    """The figures of one class, or of all.

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


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run; the last of ``classes`` is all of them together."""

    counts: Counts
    duration_s: float
    classes: list[ClassSummary]

    @property
    def overall(self) -> ClassSummary:
        """The figures over all classes."""
        return self.classes[-1]


def ttft_ms(exchange: Exchange) -> float:
    """Milliseconds to the first token; the whole answer's when it came in one piece."""
    return (exchange.token_times[0] - exchange.intended) * 1000


def e2e_ms(exchange: Exchange) -> float:
    """Milliseconds to the answer's end."""
    return (exchange.ended - exchange.intended) * 1000


def tpot_ms(exchange: Exchange) -> float | None:
    """Mean milliseconds for each token after the first; None without a second token in time."""
    times = exchange.token_times
    if len(times) < 2 or exchange.output_tokens < 2:
        return None
    return (times[-1] - times[0]) * 1000 / (exchange.output_tokens - 1)


def meets(exchange: Exchange) -> bool:
    """Whether the answer is good and within every limit of its request's SLO."""
    if exchange.failure is not None:
        return False
    slo = exchange.request.slo
    if slo is None:
        return True
    first = ttft_ms(exchange) if exchange.token_times else None
    return (
        _within(first, slo.ttft_s)
        and _within(tpot_ms(exchange), slo.tpot_s)
        and _within(e2e_ms(exchange), slo.deadline_s)
    )


def _within(milliseconds: float | None, limit_s: float | None) -> bool:
    return milliseconds is None or limit_s is None or milliseconds <= limit_s * 1000


def summarise(result: LoadResult, config: BenchmarkConfig) -> Summary:
    """Return the figures of a load."""
    finished = [item for item in result.exchanges if not item.interrupted]
    judged = _judged(finished, config)
    duration = 0.0
    if judged:
        duration = max(e.ended for e in judged) - min(e.intended for e in judged)
    parts: dict[str, list[Exchange]] = {one.name: [] for one in config.request_classes()}
    for exchange in judged:
        parts.setdefault(exchange.request.cls, []).append(exchange)
    classes = [_class(name, part, duration) for name, part in parts.items() if part]
    if len(classes) == 1:
        classes.append(replace(classes[0], name=ALL))
    else:
        classes.append(_class(ALL, judged, duration))
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
    return Summary(counts, duration, classes)


def _judged(exchanges: Sequence[Exchange], config: BenchmarkConfig) -> list[Exchange]:
    if not exchanges or not (config.cut_start_s or config.cut_end_s):
        return list(exchanges)
    first = min(item.intended for item in exchanges) + config.cut_start_s
    last = max(item.intended for item in exchanges) - config.cut_end_s
    return [item for item in exchanges if first <= item.intended <= last]


def _class(name: str, exchanges: Sequence[Exchange], duration: float) -> ClassSummary:
    answered = [item for item in exchanges if item.failure is None]
    chat = [item for item in answered if item.token_times]
    failures = Counter(item.failure.value for item in exchanges if item.failure is not None)
    met = sum(map(meets, exchanges))
    tokens = sum(item.output_tokens for item in answered)
    per_s = 1 / duration if duration > 0 else 0.0
    each = 1 / len(answered) if answered else 0.0
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
        ttft_ms=spread([ttft_ms(item) for item in chat]),
        tpot_ms=spread([value for item in chat if (value := tpot_ms(item)) is not None]),
        itl_ms=gap_spread([item.token_times for item in chat]),
        e2e_ms=spread([e2e_ms(item) for item in answered]),
        delay_ms=spread([(item.sent - item.intended) * 1000 for item in exchanges]),
    )
