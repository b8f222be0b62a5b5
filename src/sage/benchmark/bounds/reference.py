"""What a router that knew every request beforehand did reach, in the simulator itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.bounds.bound import pools
from sage.benchmark.bounds.clairvoyant import earliest_deadline
from sage.benchmark.bounds.moore_hodgson import Job, moore_hodgson
from sage.benchmark.bounds.relaxation import relax
from sage.benchmark.bounds.work import Work
from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import meets
from sage.benchmark.workload import PlannedRequest
from sage.errors import ConfigError

# Engines relative to their profile, for plans with room for what a plan does not see.
_SPEEDS = (1.0, 0.85, 0.7, 0.55, 0.4)
_DEADLINE = "earliest deadline"
_PACED = "earliest deadline, paced"


@dataclass(frozen=True, slots=True)
class Reference:
    """The best plan that was found; simulating it again gives the same.

    Attributes:
        good: requests answered within their SLO.
        issued: requests there are.
        admitted: indices of the requests that the plan serves; the others it turns away at once.
        dispatch: how these are ordered and placed.
        tries: plans that were simulated.
    """

    good: int
    issued: int
    admitted: frozenset[int]
    dispatch: str
    tries: int

    @property
    def attainment(self) -> float:
        """The share of all requests that were in time."""
        return self.good / self.issued if self.issued else 1.0


def reference(
    requests: Sequence[PlannedRequest],
    config: BenchmarkConfig,
    simulation: SimulationConfig,
    *,
    rounds: int = 12,
    on_try: Callable[[Reference], None] | None = None,
) -> Reference:
    """Search a plan that answers many requests in time, knowing all of them beforehand.

    Plans serve those that the linear program or Moore-Hodgson keeps on engines slower than they
    are, by earliest deadline or by the simulation's own policy. From the best one a local search
    goes on: the late ones are dropped, some of those turned away are taken in, the short ones
    rather, and what serves more stays. Each plan is run through the simulator; nothing is counted
    that did not come about there.

    Args:
        requests: of an open loop, with their SLOs.
        config: how the client goes about it, as for `simulate`; its seed is the search's too.
        simulation: gateway and engines.
        rounds: of the local search.
        on_try: called with the best so far after each plan, for a progress display.

    Raises:
        ConfigError: SciPy is not installed, or requests wait for answers.
    """
    if config.arrival is ArrivalPattern.CLOSED:
        raise ConfigError(
            "a reference is for an open loop; in a closed one arrivals follow answers"
        )
    search = _Search(requests, config, simulation, on_try)
    search.plans()
    search.improve(rounds)
    return search.best


class _Search:
    def __init__(
        self,
        requests: Sequence[PlannedRequest],
        config: BenchmarkConfig,
        simulation: SimulationConfig,
        on_try: Callable[[Reference], None] | None,
    ) -> None:
        self._pools = pools(requests, simulation)
        self._work = {item.request.index: item for work, _ in self._pools for item in work}
        self._requests = [r for r in requests if r.index in self._work]
        self._config = config
        self._simulation = simulation
        self._on_try = on_try
        self._in_time: frozenset[int] = frozenset()
        self.best = Reference(0, len(requests), frozenset(), "", 0)

    def plans(self) -> None:
        """Try the policy itself, then plans made beforehand at the speed that suits them best."""
        self._try(frozenset(r.index for r in self._requests), self._simulation.policy)
        if self.best.good == len(self._requests):
            return
        speed = self._best_speed()
        kept = self._by_program(speed)
        for dispatch in (_PACED, self._simulation.policy):
            self._try(kept, dispatch)
        for nearby in (speed, 0.8 * speed):
            self._try(self._by_moore_hodgson(nearby), _DEADLINE)

    def _best_speed(self) -> float:
        """Search the speed of engines by which to plan: wide apart first, then nearer by."""
        reached: dict[float, int] = {}

        def evaluate(speed: float) -> None:
            reached[speed] = self._try(self._by_program(speed), _DEADLINE)

        for speed in _SPEEDS:
            evaluate(speed)
        step = _SPEEDS[0] - _SPEEDS[1]
        for _ in range(2):
            step /= 2
            middle = max(reached, key=lambda one: reached[one])
            evaluate(middle - step)
            evaluate(middle + step)
        return max(reached, key=lambda one: reached[one])

    def improve(self, rounds: int) -> None:
        """Take in some that are turned away, and keep what serves more."""
        rng = random.Random(f"{self._config.seed}/reference")  # noqa: S311 - a search, no secret
        size = max(1, len(self._in_time) // 20)
        for _ in range(rounds):
            outside = [i for i, item in self._work.items() if i not in self._in_time]
            outside = [i for i in outside if self._work[i].possible]
            if not outside:
                return
            outside.sort(key=lambda i: self._work[i].seconds * rng.uniform(0.5, 1.5))
            before = self.best.good
            self._try(self._in_time.union(outside[:size]), self.best.dispatch)
            size = min(2 * size, len(outside)) if self.best.good > before else max(1, size // 2)

    def _try(self, admitted: frozenset[int], dispatch: str) -> int:
        """Simulate a plan; return how many it answers in time."""
        requests = [r for r in self._requests if r.index in admitted]
        policy, simulation = None, self._simulation
        if dispatch in (_DEADLINE, _PACED):
            # What a plan turns away is not sent at all; all the rest may wait.
            simulation = replace(simulation, max_queued=len(requests))
            starts = [self._latest_start(r) for r in requests]
            policy = earliest_deadline(starts, paced=dispatch == _PACED)
        result = simulate(requests, self._config, simulation, policy=policy)
        in_time = frozenset(e.request.index for e in result.exchanges if meets(e))
        best = replace(self.best, tries=self.best.tries + 1)
        if len(in_time) > best.good:
            best = replace(best, good=len(in_time), admitted=admitted, dispatch=dispatch)
            self._in_time = in_time
        self.best = best
        if self._on_try is not None:
            self._on_try(best)
        return len(in_time)

    def _latest_start(self, request: PlannedRequest) -> float:
        first = self._work[request.index].parts[0]
        return first.due - max(first.seconds)

    def _by_program(self, speed: float) -> frozenset[int]:
        """What the linear program serves at least half of, on engines of that speed."""
        return frozenset(
            item.request.index
            for work, engines in self._pools
            for item, share in zip(
                work, relax(work, [1.0] * len(work), engines * speed).shares, strict=True
            )
            if share >= 0.5
        )

    def _by_moore_hodgson(self, speed: float) -> frozenset[int]:
        """What Moore-Hodgson keeps on one engine as fast as all of these together."""
        return frozenset(
            work[i].request.index
            for work, engines in self._pools
            for i in moore_hodgson([_job(item, engines * speed) for item in work])
        )


def _job(work: Work, speed: float) -> Job:
    first = work.parts[0]
    return Job(first.release, first.due, work.seconds / speed)
