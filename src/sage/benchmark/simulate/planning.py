"""How many engines a load needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import summarise
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Try:
    """What a number of engines gave.

    Attributes:
        engines: how many.
        attainment: share of all requests that were answered within their SLO.
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
    attainment: float = 0.95,
    most: int = 1024,
    on_try: Callable[[Try], None] | None = None,
) -> FleetPlan:
    """Find the fewest LLM engines that reach an attainment, by doubling and then bisection.

    More engines are taken to serve no worse; the number of embedding engines stays.

    Args:
        config: the workload; the same requests are simulated each time.
        simulation: gateway and engines, whose number is what is looked for.
        attainment: share of all requests to be answered within their SLO, above 0 up to 1.
        most: engines to try at most.
        on_try: called with each try, for a progress display.

    Raises:
        ConfigError: an attainment or a limit out of range, or no LLM engines.
    """
    if not 0 < attainment <= 1:
        raise ConfigError(f"attainment is {attainment}; it must be above 0 and at most 1")
    if most < 1:
        raise ConfigError(f"most engines is {most}; it must be at least 1")
    if simulation.profile is None:
        raise ConfigError("a plan is for LLM engines; name their profile")
    requests = plan_requests(config)
    if config.policies:
        simulation = replace(simulation, policy=config.policies[0])
    tries: dict[int, Try] = {}

    def enough(engines: int) -> bool:
        result = simulate(requests, config, replace(simulation, engines=engines))
        overall = summarise(result, config, details=False).overall
        tries[engines] = Try(engines, overall.attainment, overall.goodput)
        if on_try is not None:
            on_try(tries[engines])
        return overall.attainment >= attainment

    found = _fewest(enough, most)
    return FleetPlan(found, tuple(tries[number] for number in sorted(tries)))


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
