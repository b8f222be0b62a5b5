"""What the runs of the SLO benchmark amount to: by class, by policy, and pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from sage.benchmark.classes import ALL, TrafficClass
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.statistics import paired_difference, spread
from sage.benchmark.summary import e2e_ms, meets, ttft_ms
from sage.benchmark.verdict import judge
from sage.benchmark.workload import PlannedRequest


@dataclass(frozen=True)
class Outcome:
    """One class in one run; ``issued`` = met + late + failed + rejected + timed out.

    Attributes:
        issued: requests that were to be sent; each of them was.
        met: answered within the class's objective.
        late: answered after it.
        rejected: refused by the gateway.
        timed_out: not answered in time.
        failed: anything else.
        attainment: met / issued.
        goodput: met per second, over the run from the first due to the last answer.
        ttft_ms: of the answered, P50 and P99; of embeddings to the whole answer.
        e2e_ms: likewise to the last byte.
    """

    issued: int
    met: int
    late: int
    rejected: int
    timed_out: int
    failed: int
    attainment: float
    goodput: float
    ttft_ms: tuple[float, float] | None
    e2e_ms: tuple[float, float] | None


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        policy: in force from its start to its end.
        pair: which pair it belongs to, from 1.
        rate_per_s: at which requests of all classes were due.
        duration_s: from the first request due to the last answer.
        outcomes: by class, and ``all``.
        instances: LLM requests answered by each instance.
        left_waiting: LLM requests without a whole answer when the last one was due.
        valid: whether the client kept up.
        reason: why it did not.
    """

    policy: str
    pair: int
    rate_per_s: float
    duration_s: float
    outcomes: dict[str, Outcome]
    instances: dict[str, int]
    left_waiting: int
    valid: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def outcomes(
    requests: Sequence[PlannedRequest], result: LoadResult
) -> tuple[float, dict[str, Outcome]]:
    """Return a run's seconds and its outcomes by class.

    Raises:
        SystemExit: a request was planned and not issued, or counted in no or two outcomes.
    """
    exchanges = result.exchanges
    if len(exchanges) != len(requests) or result.unsent:
        raise SystemExit(f"{len(requests)} requests planned, {len(exchanges)} issued")
    duration = max(e.ended for e in exchanges) - min(e.intended for e in exchanges)
    names = sorted({request.cls for request in requests})
    by_class = {
        name: _outcome([e for e in exchanges if e.request.cls == name], duration) for name in names
    }
    by_class[ALL] = _outcome(exchanges, duration)
    parts = sum(by_class[name].issued for name in names)
    if parts != by_class[ALL].issued:
        raise SystemExit(f"{parts} requests in the classes, {by_class[ALL].issued} in all")
    return duration, by_class


def _outcome(exchanges: Sequence[Exchange], duration: float) -> Outcome:
    ends: Counter[str] = Counter()
    for exchange in exchanges:
        ends[_end(exchange)] += 1
    answered = [e for e in exchanges if e.failure is None]
    outcome = Outcome(
        issued=len(exchanges),
        **{name: ends[name] for name in ("met", "late", "rejected", "timed_out", "failed")},
        attainment=ends["met"] / max(1, len(exchanges)),
        goodput=ends["met"] / duration,
        ttft_ms=_middle_and_tail([_first_ms(e) for e in answered]),
        e2e_ms=_middle_and_tail([e2e_ms(e) for e in answered]),
    )
    if ends.total() != outcome.issued:
        raise SystemExit(f"{outcome.issued} requests ended in {ends.total()} ways")
    return outcome


def _end(exchange: Exchange) -> str:
    if exchange.failure is None:
        return "met" if meets(exchange) else "late"
    ends = {Failure.REJECTED: "rejected", Failure.TIMEOUT: "timed_out"}
    return ends.get(exchange.failure, "failed")


def _first_ms(exchange: Exchange) -> float:
    return ttft_ms(exchange) if exchange.token_times else e2e_ms(exchange)


def _middle_and_tail(samples: list[float]) -> tuple[float, float] | None:
    found = spread(samples)
    return None if found is None else (found.p50, found.p99)


def run_of(
    policy: str,
    pair: int,
    rate_per_s: float,
    requests: Sequence[PlannedRequest],
    result: LoadResult,
) -> Run:
    """Return one run's figures."""
    duration, by_class = outcomes(requests, result)
    verdict = judge(result)
    llm = [e for e in result.exchanges if e.request.traffic is TrafficClass.CHAT]
    instances = Counter(e.instance for e in llm if e.instance)
    last = max(e.intended for e in result.exchanges)
    return Run(
        policy,
        pair,
        rate_per_s,
        duration,
        by_class,
        dict(sorted(instances.items())),
        sum(e.ended > last for e in llm),
        verdict.valid,
        verdict.reason,
    )


def compared(runs: Sequence[Run], baseline: str, policy: str) -> dict[str, Any]:
    """Return, by class, both policies' means and the paired differences with 95% intervals.

    Every pair has both policies, with the same moments and sizes.
    """
    before = sorted((r for r in runs if r.policy == baseline), key=lambda r: r.pair)
    after = sorted((r for r in runs if r.policy == policy), key=lambda r: r.pair)
    if [r.pair for r in before] != [r.pair for r in after]:
        raise SystemExit("a pair lacks one of its runs")
    table: dict[str, Any] = {}
    for name in before[0].outcomes:
        table[name] = {"issued_in_each": sum(r.outcomes[name].issued for r in before)}
        for figure in ("attainment", "goodput"):
            left = [getattr(r.outcomes[name], figure) for r in before]
            right = [getattr(r.outcomes[name], figure) for r in after]
            difference = paired_difference(left, right)
            table[name][figure] = {
                baseline: fmean(left),
                policy: fmean(right),
                **asdict(difference),
                "verdict": _verdict(difference.low, difference.high),
            }
    return table


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"
