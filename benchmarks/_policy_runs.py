"""One load under one policy, simulated: what came of it; many of them on all cores at once.

Counted are good answers, those within their request's SLO, of all requests due between the first
quarter of a run and its last 20 seconds: neither an empty start nor the quiet after the last
arrival flatters anyone.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections import Counter
from collections.abc import Generator, Sequence
from typing import NamedTuple

from _policy_cases import CASES, Case

from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.summary import meets, tpot_ms, ttft_ms

TAIL_S = 20.0
_CLOSE = 0.02
_HIGHEST = 8.0


class Trial(NamedTuple):
    """What to simulate.

    Attributes:
        case: name of the kind of load.
        engines: LLM engines.
        policy: name of the scheduling policy.
        load: in multiples of the case's own rate.
        seed: of the requests.
    """

    case: str
    engines: int
    policy: str
    load: float
    seed: int


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        good: requests/s answered within their SLO.
        attainment: their share of all requests due.
        interactive: the same of interactive ones alone.
        lost: share of all that missed for want of time to the first token, of pace, of both, or
            were refused.
    """

    good: float
    attainment: float
    interactive: float
    lost: dict[str, float]


def run(trial: Trial) -> Outcome:
    """Simulate one load under a policy."""
    case = CASES[trial.case]
    items = case.requests(trial.engines, trial.load, trial.seed)
    result = simulate(items, LLMBenchmarkConfig(), case.simulation(trial.engines, trial.policy))
    last = items[-1].at
    begin, end = 0.25 * last, last - TAIL_S
    window = [x for x in result.exchanges if begin <= x.request.at < end]
    good = [x for x in window if meets(x)]
    lost = Counter(_why(x) for x in window if not meets(x))
    urgent = sum(x.request.cls == "interactive" for x in window)
    return Outcome(
        len(good) / (end - begin),
        len(good) / len(window),
        sum(x.request.cls == "interactive" for x in good) / max(1, urgent),
        {reason: count / len(window) for reason, count in sorted(lost.items())},
    )


def run_all(trials: Sequence[Trial], jobs: int) -> Generator[Outcome]:
    """Simulate several loads, so many at once; give what came of them in their order."""
    if jobs == 1:
        yield from map(run, trials)
        return
    # Forked, so that policies which the parent has registered are known.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(run, trials)


def sustained(case: Case, engines: int, policy: str, target: float, seeds: int) -> float:
    """Return the highest load at which a policy keeps a share of the SLOs, by bisection to 2%.

    0 where it keeps it at no load that was tried, and the highest tried where it always does.
    """

    def keeps(load: float) -> bool:
        runs = [run(Trial(case.name, engines, policy, load, seed)) for seed in range(seeds)]
        return statistics.mean(one.attainment for one in runs) >= target

    low, high = 0.0, 0.5
    while high < _HIGHEST and keeps(high):
        low, high = high, high * 1.5
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def _why(exchange: Exchange) -> str:
    if exchange.failure is not None:
        return exchange.failure.value
    slo = exchange.request.slo
    assert slo is not None
    late = slo.ttft_s is not None and ttft_ms(exchange) > slo.ttft_s * 1000
    slow = slo.tpot_s is not None and (tpot_ms(exchange) or 0.0) > slo.tpot_s * 1000
    return "both" if late and slow else "ttft" if late else "tpot"
