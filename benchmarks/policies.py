"""What each policy makes of loads from half to three times what engines hold, in simulation.

Counted are good answers, those within their request's SLO, of all requests due between the first
quarter of a run and its last 20 seconds: neither an empty start nor the quiet after the last
arrival flatters anyone. Three tables for each case and number of engines: good requests/s and
interactive attainment by load; the highest rate at which a policy keeps 90% and 99% of the SLOs
(by bisection); and what each policy lost, by reason, with ``--why``.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

from _policy_cases import CASES, Case
from _report import Report

from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.summary import meets, tpot_ms, ttft_ms
from sage.inference.scheduling.policy import (
    PolicyFactory,
    SchedulingPolicy,
    View,
    make_policy,
    register_policy,
)
from sage.inference.scheduling.strategies import StrategyAdapter

TAIL_S = 20.0
TARGETS = (0.9, 0.99)
_CLOSE = 0.02


ABLATIONS = {
    "without the guard": {"guards": False},
    "without giving up": {"triages": False},
    "without both": {"guards": False, "triages": False},
}


class Outcome(NamedTuple):
    """One run.

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


def run(case: Case, engines: int, policy: str, load: float, seed: int) -> Outcome:
    """Simulate one load under a policy."""
    items = case.requests(engines, load, seed)
    simulation = case.simulation(engines, policy)
    result = simulate(items, LLMBenchmarkConfig(), simulation)
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


def _why(exchange: Exchange) -> str:
    if exchange.failure is not None:
        return exchange.failure.value
    slo = exchange.request.slo
    assert slo is not None
    late = slo.ttft_s is not None and ttft_ms(exchange) > slo.ttft_s * 1000
    slow = slo.tpot_s is not None and (tpot_ms(exchange) or 0.0) > slo.tpot_s * 1000
    return "both" if late and slow else "ttft" if late else "tpot"


def sustained(case: Case, engines: int, policy: str, target: float, seeds: int) -> float:
    """Return the highest rate, requests/s, at which a policy keeps so many of the SLOs."""

    def keeps(load: float) -> bool:
        runs = [run(case, engines, policy, load, seed) for seed in range(seeds)]
        return statistics.mean(one.attainment for one in runs) >= target

    low, high = 0.0, 0.5
    while high < 8.0 and keeps(high):
        low, high = high, high * 1.5
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low * case.rate * engines


class Table:
    """The figures of one case and fleet, printed as they come."""

    def __init__(self, report: Report, case: Case, engines: int) -> None:
        self._report = report
        self._case = case
        self._engines = engines
        self._key = f"{case.name}/{engines}"

    def by_load(self, policies: list[str], loads: list[float], seeds: int, *, why: bool) -> None:
        """Print and record good requests/s and interactive attainment, a row a policy."""
        case, engines = self._case, self._engines
        rates = [case.rate * engines * load for load in loads]
        print(f"\n{self._key}: good requests/s, interactive attainment; by offered rate")
        print(" " * 20 + "".join(f"{rate:14.1f}" for rate in rates), flush=True)
        for policy in policies:
            rows: list[dict[str, Any]] = []
            for load in loads:
                runs = [run(case, engines, policy, load, seed) for seed in range(seeds)]
                rows.append(
                    {
                        "load": load,
                        "offered": case.rate * engines * load,
                        "good": statistics.mean(one.good for one in runs),
                        "good_by_seed": [one.good for one in runs],
                        "attainment": statistics.mean(one.attainment for one in runs),
                        "interactive": statistics.mean(one.interactive for one in runs),
                        "lost": runs[0].lost,
                    }
                )
            cells = (f"{row['good']:7.1f} {row['interactive']:5.1%}" for row in rows)
            line = f"{policy:20}" + "".join(f"{cell:>14}" for cell in cells)
            self._report.add(f"{self._key}/{policy}", rows, line)
            for row in rows if why else ():
                print(f"    {row['offered']:.1f}: {row['lost']}")

    def by_target(self, policies: list[str], seeds: int) -> None:
        """Print and record the highest rates that policies sustain."""
        print(f"\n{self._key}: requests/s sustained at {TARGETS[0]:.0%} and {TARGETS[1]:.0%}")
        for policy in policies:
            rates = [sustained(self._case, self._engines, policy, t, seeds) for t in TARGETS]
            line = f"{policy:20}" + "".join(f"{rate:10.1f}" for rate in rates)
            self._report.add(f"{self._key}/{policy}/sustained", rates, line)


def _register_ablations() -> list[str]:
    """Make hybrid_slo with parts of it switched off known by name; return the names."""

    def factory(name: str, off: dict[str, bool]) -> PolicyFactory:
        return lambda: replace(make_policy("hybrid_slo"), name=name, **off)

    def by_work() -> SchedulingPolicy:
        whole, part = make_policy("hybrid_slo"), make_policy("slo_aware")

        def bind(view: View) -> None:
            for policy in (whole, part):
                if policy.bind is not None:
                    policy.bind(view)

        return replace(whole, name="with LeastWork", placement=part.placement, bind=bind)

    register_policy("with LeastWork", by_work, description="hybrid_slo placed as slo_aware")
    for name, off in ABLATIONS.items():
        register_policy(name, factory(name, off), description="hybrid_slo with parts off")
    return ["hybrid_slo", *ABLATIONS, "with LeastWork"]


def main() -> None:
    """Measure the cases, fleets and policies that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--engines", default="4,16")
    parser.add_argument("--loads", default="0.5,0.75,1,1.25,1.5,2,3")
    parser.add_argument("--policies", default="all", help="names, or all, or ablations")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tables", default="loads,sustained")
    parser.add_argument("--why", action="store_true", help="say what was lost, by reason")
    parser.add_argument("--write", action="store_true", help="write results/policies.json")
    options = parser.parse_args()
    policies = options.policies.split(",")
    if policies == ["ablations"]:
        policies = _register_ablations()
    elif policies == ["all"]:
        policies = [strategy.name for strategy in StrategyAdapter.list()]
    loads = [float(load) for load in options.loads.split(",")]
    report = Report("policies", [])
    for case in (CASES[name] for name in options.cases.split(",")):
        for engines in map(int, options.engines.split(",")):
            table = Table(report, case, engines)
            if "loads" in options.tables:
                table.by_load(policies, loads, options.seeds, why=options.why)
            if "sustained" in options.tables:
                table.by_target(policies, options.seeds)
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
