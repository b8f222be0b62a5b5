"""Runs and comparisons in simulated time, with the figures of live ones."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import LoadResult
from sage.benchmark.run import Run, single_policy, turns
from sage.benchmark.simulate.config import CHAT_MODEL, EMBEDDING_MODEL, SimulationConfig
from sage.benchmark.simulate.simulation import Simulation
from sage.benchmark.summary import summarise
from sage.benchmark.target import Found
from sage.benchmark.verdict import judge
from sage.benchmark.wire import Models
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.inference.scheduling.policy import SchedulingPolicy
from sage.inference.scheduling.scheduler import Scheduler


class SimulatedBench:
    """Measures simulated engines with one workload, as `Bench` does a live server.

    Args:
        config: the workload, validated; its policies are tried, or else the simulation's own.
        simulation: gateway and engines.
        details: as `summarise` has it; a sweep needs none.
        on_answer: called with each answer, for a progress display.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        simulation: SimulationConfig,
        *,
        details: bool = True,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._config = config
        self._simulation = simulation
        self._details = details
        self._on_answer = on_answer

    @property
    def found(self) -> Found:
        """What stands for the server in reports."""
        return Found(self._simulation.describe(), Models(CHAT_MODEL, EMBEDDING_MODEL))

    def run(self) -> Run:
        """Run once.

        Raises:
            SageError: a profile, a policy or the workload is wrong.
        """
        policy = single_policy(self._config) or self._simulation.policy
        return self._measure(policy, self._config.seed, 0)

    def once(self) -> Iterator[Run]:
        """Yield the one run of `run`."""
        yield self.run()

    def compare(self) -> Iterator[Run]:
        """Run each policy once a round, on the same requests, and yield each run."""
        for policy, seed, number in turns(self._config):
            yield self._measure(policy, seed, number)

    def _measure(self, policy: str, seed: int, number: int) -> Run:
        config = replace(self._config, seed=seed)
        simulation = replace(self._simulation, policy=policy)
        result = simulate(plan_requests(config), config, simulation, on_answer=self._on_answer)
        summary = summarise(result, config, self.found.models, details=self._details)
        return Run(policy, seed, number, summary, judge(result), result, simulated=True)


def simulate(
    requests: Sequence[PlannedRequest],
    config: BenchmarkConfig,
    simulation: SimulationConfig,
    *,
    policy: SchedulingPolicy | None = None,
    on_answer: Callable[[Exchange], None] | None = None,
) -> LoadResult:
    """Simulate the requests and return what became of each, in seconds from 0.

    Args:
        requests: in the order they are due.
        config: how the client goes about it: closed loop, time limit, slots, seed.
        simulation: gateway and engines.
        policy: in place of the simulation's, which is one by name.
        on_answer: called with each exchange that has ended.

    Raises:
        SageError: a profile or a policy is wrong, or no engine serves a request.
    """
    scheduler = Scheduler(
        policy or simulation.policy, max_queued=simulation.max_queued, seed=config.seed
    )
    world = Simulation(
        scheduler,
        simulation.build(),
        lag=simulation.lag,
        timeout_s=config.timeout_s,
        max_in_flight=config.max_in_flight,
        on_answer=on_answer,
    )
    users = config.users if config.arrival is ArrivalPattern.CLOSED else 0
    with _no_collections():
        return world.run(requests, users=users, think_s=config.think_s)


@contextmanager
def _no_collections() -> Iterator[None]:
    """What a simulation allocates has no cycles, and looking through it all again takes long."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
