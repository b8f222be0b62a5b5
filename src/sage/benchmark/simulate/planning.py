"""How many engines a load needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import summarise
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError
from sage.inference.scheduling.request import Kind

_TRAFFIC = {Kind.LLM: TrafficClass.CHAT, Kind.EMBEDDING: TrafficClass.EMBEDDING}


@dataclass(frozen=True, slots=True)
class Try:
    """What a number of engines gave.

    Attributes:
        engines: how many.
        attainment: share of all requests of the kind that were answered within their SLO.
        goodput: such requests per second.
    """

    engines: int
    attainment: float
    goodput: float


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The answer.

    Attributes:
        engines: the fewest that reach the attainment; None when the most allowed do not.
        tries: all that was simulated, by number of engines.
    """

    engines: int | None
    tries: tuple[Try, ...]


def plan_fleet(
    config: BenchmarkConfig,
    simulation: SimulationConfig,
    *,
    kind: Kind = Kind.LLM,
    attainment: float = 0.95,
    most: int = 1024,
    on_try: Callable[[Try], None] | None = None,
) -> FleetPlan:
    """Find the fewest engines of a kind that reach an attainment, by doubling and then bisection.

    More engines are taken to serve no worse. Requests of the other kind are left out, as none of
    them goes to these engines.

    Args:
        config: the workload; the same requests are simulated each time.
        simulation: gateway and engines, whose number is what is looked for.
        kind: of the engines, and of the requests that are looked at.
        attainment: share of all these requests to be answered within their SLO, above 0 up to 1.
        most: engines to try at most.
        on_try: called with each try, for a progress display.

    Raises:
        ConfigError: an attainment or a limit out of range, or no engines or requests of the kind.
    """
    if not 0 < attainment <= 1:
        raise ConfigError(f"attainment is {attainment}; it must be above 0 and at most 1")
    if most < 1:
        raise ConfigError(f"most engines is {most}; it must be at least 1")
    simulation = _only(simulation, kind)
    requests = [item for item in plan_requests(config) if item.traffic is _TRAFFIC[kind]]
    if not requests:
        raise ConfigError(f"the workload has no requests for engines of kind {kind.value}")
    if config.policies:
        simulation = replace(simulation, policy=config.policies[0])
    tries: dict[int, Try] = {}

    def enough(engines: int) -> bool:
        result = simulate(requests, config, _with(simulation, kind, engines))
        overall = summarise(result, config, details=False).overall
        tries[engines] = Try(engines, overall.attainment, overall.goodput)
        if on_try is not None:
            on_try(tries[engines])
        return overall.attainment >= attainment

    found = _fewest(enough, most)
    return FleetPlan(found, tuple(tries[count] for count in sorted(tries)))


def _only(simulation: SimulationConfig, kind: Kind) -> SimulationConfig:
    """Leave out the engines of the other kind."""
    profile = simulation.profile if kind is Kind.LLM else simulation.embedding_profile
    if profile is None:
        raise ConfigError(f"the plan is for engines of kind {kind.value}; name their profile")
    if kind is Kind.LLM:
        return replace(simulation, embedding_profile=None)
    return replace(simulation, profile=None)


def _with(simulation: SimulationConfig, kind: Kind, engines: int) -> SimulationConfig:
    if kind is Kind.LLM:
        return replace(simulation, engines=engines)
    return replace(simulation, embedding_engines=engines)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    short, good = 0, 1
    while not enough(good):
        if good == most:
            return None
        short, good = good, min(most, 2 * good)
    while good - short > 1:
        middle = (short + good) // 2
        if enough(middle):
            good = middle
        else:
            short = middle
    return good
