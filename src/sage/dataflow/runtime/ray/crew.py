"""The actors of a job: placed on the cluster, asked, and ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from threading import Event
from typing import Any

from sage.cluster.opening import load_ray
from sage.dataflow.plan import Plan
from sage.dataflow.runtime.feed import SLICE
from sage.dataflow.runtime.ray.cluster import JobCluster
from sage.dataflow.runtime.ray.far_replica import FarReplica
from sage.dataflow.runtime.ray.placement import needs_of
from sage.dataflow.runtime.ray.stage_actor import StageActor, versions
from sage.dataflow.runtime.ray.wiring import producers_of, routes_of
from sage.errors import ClusterError

logger = logging.getLogger("sage.dataflow")

# Calls of an actor that run at once beside those of its producers.
OWN_CALLS = 100
CALLS_OF_A_PRODUCER = 8


class Crew:
    """Has an actor for each replica of each stage.

    Args:
        plan: the stages.
        cluster: where.
        clock: seconds.

    Attributes:
        replicas: all of them.
    """

    def __init__(self, plan: Plan, cluster: JobCluster, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._cluster = cluster
        self._clock = clock
        self._stages = {
            stage.id: [FarReplica(stage, index) for index in range(stage.parallelism)]
            for stage in plan.stages
        }
        self.replicas = [replica for stage in self._stages.values() for replica in stage]

    @property
    def running(self) -> list[FarReplica]:
        """The replicas that have not ended."""
        return [replica for replica in self.replicas if not replica.over]

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator or on the way to it, by its id."""
        queued = {
            stage: sum(replica.queued for replica in replicas)
            for stage, replicas in self._stages.items()
            if self._plan.stages[stage].inputs
        }
        for replica in self.replicas:
            for stage, leaving in replica.leaving.items():
                queued[stage] += leaving
        return {self._plan.stages[stage].nodes[0].id: count for stage, count in queued.items()}

    def place(self, orders: Sequence[Sequence[bytes]], cancelled: Event) -> None:
        """Create the actors and wait until each has said hello, or the job is cancelled.

        Args:
            orders: for each stage's replicas, what their actors are told, pickled.
            cancelled: set when the job is.

        Raises:
            OperatorError: an operator could not be made, or an actor died.
            ClusterError: the cluster has no room, or is of another version.
        """
        patience: float | None = self._cluster.config.start_timeout
        greeted = {
            self._create(replica, orders[replica.stage.id][replica.index]): replica
            for replica in self.replicas
        }
        self._await(greeted, FarReplica.greet, cancelled, patience)
        # Users' constructors may take their time.
        made = {replica.actor.prepare.remote(): replica for replica in self.replicas}
        self._await(made, FarReplica.prepared, cancelled, None)

    def _await(
        self,
        waiting: dict[Any, FarReplica],
        take: Callable[[FarReplica, Any], None],
        cancelled: Event,
        patience: float | None,
    ) -> None:
        """Take the answers to calls of all replicas, or go when the job is cancelled."""
        due = None if patience is None else self._clock() + patience
        while waiting and not cancelled.is_set():
            for call in self.answered(waiting):
                replica = waiting.pop(call)
                take(replica, self._answer(replica, call))
            if waiting and patience is not None and due is not None and self._clock() >= due:
                due += patience
                self._delayed(waiting.values())

    def begin(self, capacity: int) -> None:
        """Let all actors begin.

        Args:
            capacity: records that may wait for a stage.
        """
        actors = {
            stage: [replica.actor for replica in replicas]
            for stage, replicas in self._stages.items()
        }
        for each in self.replicas:
            each.begin(
                routes_of(self._plan, each.stage, each.index, actors=actors, capacity=capacity)
            )

    def answered(self, calls: Mapping[Any, FarReplica]) -> list[Any]:
        """Return those calls that are answered, having waited a moment for the first."""
        ray = load_ray()
        asked = list(calls)
        first, _ = ray.wait(asked, timeout=SLICE)
        if not first:
            return []
        answered: list[Any] = ray.wait(asked, num_returns=len(asked), timeout=0)[0]
        return answered

    def kill(self) -> None:
        """End the actors."""
        ray = load_ray()
        for replica in self.replicas:
            if replica.actor is not None:
                # The connection to the cluster may be gone, and its actors with it.
                with suppress(ray.exceptions.RayError, ConnectionError, RuntimeError):
                    ray.kill(replica.actor)

    def _create(self, replica: FarReplica, order: bytes) -> Any:
        """Create an actor; return its call for a hello."""
        producers = producers_of(self._plan, replica.stage)
        actor_class = load_ray().remote(StageActor)
        replica.actor = actor_class.options(
            **needs_of(replica.stage).options(),
            max_concurrency=OWN_CALLS + CALLS_OF_A_PRODUCER * producers,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        ).remote(replica.name, order)
        return replica.actor.hello.remote(versions())

    def _answer(self, replica: FarReplica, call: Any) -> Any:
        ray = load_ray()
        try:
            return ray.get(call)
        except ray.exceptions.RayError as error:
            raise replica.death(error) from error

    def _delayed(self, waiting: Collection[FarReplica]) -> None:
        """Say why actors are not placed yet, and give up unless waiting was asked for."""
        names = ", ".join(sorted({repr(replica.stage.name) for replica in waiting}))
        needs = needs_of(next(iter(waiting)).stage)
        reason = (
            f"{len(waiting)} actors of stages {names} have no process after "
            f"{self._cluster.config.start_timeout:g} s: each of the first asks for {needs}, and "
            f"the cluster has {self._cluster.free()} free of {self._cluster.total()}"
        )
        if not self._cluster.config.wait:
            raise ClusterError(f"{reason}; free some, or set ray={{'wait': True}}")
        logger.warning("%s; the job waits", reason)
