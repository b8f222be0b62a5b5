"""What each policy makes of loads from half to three times what engines hold, in simulation.

Three tables for each case and number of engines: ``loads``, good requests/s and interactive
attainment by load, and where hybrid_slo is the furthest behind the best of the others at any load
and seed; ``sustained``, the highest rate at which a policy keeps 90% and 99% of the SLOs (by
bisection); ``overload``, half as much again as hybrid_slo holds, beside the best plan that was
found and what no router can pass.
"""

from __future__ import annotations

import argparse
import os
import statistics
from contextlib import closing
from dataclasses import replace
from typing import Any

from _policy_cases import CASES, Case
from _policy_overload import POLICY, as_figures, overload
from _policy_runs import Outcome, Trial, run_all, sustained
from _report import Report

from sage.inference.scheduling.policy import (
    PolicyFactory,
    SchedulingPolicy,
    View,
    make_policy,
    register_policy,
)
from sage.inference.scheduling.strategies import StrategyAdapter

TARGETS = (0.9, 0.99)

ABLATIONS = {
    "without the guard": {"guards": False},
    "without giving up": {"triages": False},
    "without both": {"guards": False, "triages": False},
}


class Table:
    """The figures of one case and fleet, printed as they come."""

    def __init__(self, report: Report, case: Case, engines: int) -> None:
        self._report = report
        self._case = case
        self._engines = engines
        self._key = f"{case.name}/{engines}"

    def by_load(
        self, policies: list[str], loads: list[float], seeds: int, jobs: int, *, why: bool
    ) -> None:
        """Print and record good requests/s and interactive attainment, a row a policy."""
        case, engines = self._case, self._engines
        rates = [case.rate * engines * load for load in loads]
        print(f"\n{self._key}: good requests/s, interactive attainment; by offered rate")
        print(" " * 20 + "".join(f"{rate:14.1f}" for rate in rates), flush=True)
        trials = [
            Trial(case.name, engines, policy, load, seed)
            for policy in policies
            for load in loads
            for seed in range(seeds)
        ]
        found: dict[str, list[list[Outcome]]] = {}
        with closing(run_all(trials, jobs)) as outcomes:
            for policy in policies:
                runs = [[next(outcomes) for _ in range(seeds)] for _ in loads]
                rows = [_row(*row) for row in zip(loads, rates, runs, strict=True)]
                cells = (f"{row['good']:7.1f} {row['interactive']:5.1%}" for row in rows)
                line = f"{policy:20}" + "".join(f"{cell:>14}" for cell in cells)
                self._report.add(f"{self._key}/{policy}", rows, line)
                for row in rows if why else ():
                    print(f"    {row['offered']:.1f}: {row['lost']}")
                found[policy] = runs
        if POLICY in found and len(found) > 1:
            self._behind(found, rates)

    def _behind(self, found: dict[str, list[list[Outcome]]], rates: list[float]) -> None:
        """Print and record where hybrid_slo is the furthest behind the best of the others."""
        cells = [
            (run.good / best.good - 1, rate, seed, name)
            for place, rate in enumerate(rates)
            for seed, run in enumerate(found[POLICY][place])
            for best, name in [
                max(
                    ((runs[place][seed], name) for name, runs in found.items() if name != POLICY),
                    key=lambda pair: pair[0].good,
                )
            ]
            if best.good
        ]
        share, rate, seed, name = min(cells)
        self._report.add(
            f"{self._key}/behind",
            {"share": share, "offered": rate, "seed": seed, "policy": name, "cells": len(cells)},
            f"{POLICY} to the best other at its worst of {len(cells)} loads and seeds: "
            f"{share:+.2%} ({name}, {rate:.1f}/s, seed {seed})",
        )

    def by_target(self, policies: list[str], seeds: int) -> None:
        """Print and record the highest rates that policies sustain."""
        print(f"\n{self._key}: requests/s sustained at {TARGETS[0]:.0%} and {TARGETS[1]:.0%}")
        whole = self._case.rate * self._engines
        for policy in policies:
            rates = [
                whole * sustained(self._case, self._engines, policy, t, seeds) for t in TARGETS
            ]
            line = f"{policy:20}" + "".join(f"{rate:10.1f}" for rate in rates)
            self._report.add(f"{self._key}/{policy}/sustained", rates, line)

    def overloaded(self, policies: list[str]) -> None:
        """Print and record how near hybrid_slo comes to a plan that knows the future."""
        found = overload(self._case, self._engines, [p for p in policies if p != POLICY])
        self._report.add(
            f"{self._key}/overload", as_figures(found), f"\n{self._key}: {found.describe()}"
        )


def _row(load: float, rate: float, runs: list[Outcome]) -> dict[str, Any]:
    return {
        "load": load,
        "offered": rate,
        "good": statistics.mean(one.good for one in runs),
        "good_by_seed": [one.good for one in runs],
        "attainment": statistics.mean(one.attainment for one in runs),
        "interactive": statistics.mean(one.interactive for one in runs),
        "lost": runs[0].lost,
    }


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
    parser.add_argument("--tables", default="loads,sustained,overload")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--why", action="store_true", help="say what was lost, by reason")
    parser.add_argument(
        "--write", nargs="?", const="policies", help="write results/NAME.json (default policies)"
    )
    parser.add_argument(
        "--update", action="store_true", help="put what overload gives into that file instead"
    )
    options = parser.parse_args()
    policies = options.policies.split(",")
    if policies == ["ablations"]:
        policies = _register_ablations()
    elif policies == ["all"]:
        policies = [strategy.name for strategy in StrategyAdapter.list()]
    loads = [float(load) for load in options.loads.split(",")]
    report = Report(options.write or "policies", [])
    cases, engines = options.cases.split(","), [int(n) for n in options.engines.split(",")]
    for case in (CASES[name] for name in cases):
        for count in engines:
            table = Table(report, case, count)
            if "loads" in options.tables:
                table.by_load(policies, loads, options.seeds, options.jobs, why=options.why)
            if "sustained" in options.tables:
                table.by_target(policies, options.seeds)
            if "overload" in options.tables:
                table.overloaded(policies)
    if options.write and options.update:
        report.update([f"{case}/{n}/overload" for case in cases for n in engines])
    elif options.write:
        report.write()


if __name__ == "__main__":
    main()
