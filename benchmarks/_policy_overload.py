"""Half as much again as a fleet holds: a policy beside the best plan found, and the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from _policy_cases import Case
from _policy_runs import Trial, run, sustained

from sage.benchmark.bounds.bound import bound, pools
from sage.benchmark.bounds.reference import reference
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.summary import meets

POLICY = "hybrid_slo"
OVER_KNEE = 1.5
TARGET = 0.9
# Local search goes on beyond this, for a few requests in a thousand.
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Overload:
    """What was found; counts are of all requests of the run, its beginning and end too.

    Attributes:
        possible: share of the requests that an engine of their own has in time.
        knee: requests/s at which `POLICY` has 90% of those in time.
        offered: requests/s.
        issued: requests.
        good: that `POLICY` answers in time.
        reference: that a plan does which knows them all beforehand.
        bound: that no router can exceed.
        interactive: share of the interactive ones in time, by policy.
    """

    possible: float
    knee: float
    offered: float
    issued: int
    good: int
    reference: int
    bound: float
    interactive: dict[str, float]

    def describe(self) -> str:
        """Return it in a line."""
        ours = self.interactive[POLICY]
        best, name = max((x, name) for name, x in self.interactive.items() if name != POLICY)
        reached = self.good / self.reference
        return (
            f"knee {self.knee:.1f}/s ({TARGET:.0%} of the {self.possible:.1%} possible); at "
            f"{self.offered:.1f}/s {self.good} of {self.issued} in time, {reached:.1%} of the "
            f"reference's {self.reference}, bound {self.bound:.0f}; interactive {ours:.1%}, "
            f"{name} {best:.1%}"
        )


def overload(case: Case, engines: int, policies: list[str]) -> Overload:
    """Find the knee, go half as far again, and search the best plan there.

    Args:
        case: the kind of load.
        engines: LLM engines.
        policies: whose share of interactive requests to tell; `POLICY` always is.
    """
    config = LLMBenchmarkConfig()
    simulation = case.simulation(engines, POLICY)
    work = [item for pool, _ in pools(case.requests(engines, 1.0, 0), simulation) for item in pool]
    possible = sum(item.possible for item in work) / len(work)
    knee = sustained(case, engines, POLICY, TARGET * possible, 1)
    trial = partial(Trial, case.name, engines, load=OVER_KNEE * knee, seed=0)
    items = case.requests(engines, OVER_KNEE * knee, 0)
    result = simulate(items, config, simulation)
    return Overload(
        possible,
        knee * case.rate * engines,
        OVER_KNEE * knee * case.rate * engines,
        len(items),
        sum(map(meets, result.exchanges)),
        reference(items, config, simulation, rounds=_ROUNDS).good,
        bound(items, simulation).good,
        {name: run(trial(policy=name)).interactive for name in [POLICY, *policies]},
    )


def as_figures(found: Overload) -> dict[str, Any]:
    """Return plain values for JSON."""
    return {name: getattr(found, name) for name in Overload.__slots__}
