"""Where a run's goodput stands between nothing and what no router can pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.bounds.bound import Bound, bound
from sage.benchmark.bounds.reference import Reference, reference
from sage.benchmark.bounds.scipy_extra import solver
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import meets
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts of requests in time, warm-up and cool-down included.

    Attributes:
        good: the run's.
        reference: the best plan that was found and simulated.
        bound: what no router can pass.
    """

    good: int
    reference: Reference
    bound: Bound

    def describe(self) -> str:
        """Return all three in a line."""
        best, most = self.reference.good, self.bound.good
        return (
            f"in SLO: {self.good} of {self.bound.issued:.0f}; "
            f"reference {best} ({_share(self.good, best)} of it reached), "
            f"bound {most:.0f} ({_share(self.good, most)})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "issued": self.bound.issued,
            "good": self.good,
            "reference": self.reference.good,
            "reference_dispatch": self.reference.dispatch,
            "reference_admitted": len(self.reference.admitted),
            "bound": self.bound.good,
        }


def check_bounded(config: BenchmarkConfig) -> None:
    """Raise ConfigError, before anything is measured, when there could be no bounds.

    Raises:
        ConfigError: requests wait for answers, or SciPy is not installed.
    """
    if config.arrival is ArrivalPattern.CLOSED:
        raise ConfigError("arrival is closed; bounds are for an open loop, such as poisson")
    if config.has_sessions:
        raise ConfigError("turns follow answers; bounds are for an open loop without turns")
    solver()


def stand(
    exchanges: Sequence[Exchange],
    config: BenchmarkConfig,
    simulation: SimulationConfig,
    *,
    on_try: Callable[[Reference], None] | None = None,
) -> Standing:
    """Compare a simulated run with the reference and the bound of the same requests.

    Args:
        exchanges: of the run, all of them.
        config: that the run followed.
        simulation: gateway, engines and policy of the run, from which the reference starts.
        on_try: called as `reference` does.

    Raises:
        ConfigError: as `check_bounded`, or a profile cannot be read.
    """
    check_bounded(config)
    requests = plan_requests(config)
    found = reference(requests, config, simulation, on_try=on_try)
    return Standing(sum(map(meets, exchanges)), found, bound(requests, simulation))


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "all"
