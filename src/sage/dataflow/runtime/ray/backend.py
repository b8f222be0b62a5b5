"""Runs jobs on a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.graph import Kind, Node
from sage.dataflow.guard import JobServices
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.runtime.backend import Attempt
from sage.dataflow.runtime.ray.cluster import JobCluster
from sage.dataflow.runtime.ray.far_list import sent_home
from sage.dataflow.runtime.ray.orders import Order
from sage.dataflow.runtime.ray.placement import needs_of, total_of
from sage.dataflow.runtime.ray.runtime import RayRuntime
from sage.dataflow.runtime.ray.wire import dump_by_value
from sage.dataflow.runtime.ray.wiring import links_of, producers_of
from sage.dataflow.sinks.gathered import list_of
from sage.dataflow.workers import Workers
from sage.errors import ConfigError, GraphError


class RayBackend:
    """Runs each replica of each stage in an actor of its own.

    Args:
        cluster: connected.
    """

    def __init__(self, cluster: JobCluster) -> None:
        self._cluster = cluster

    def check(self, plan: Plan, config: EnvironmentConfig, services: JobServices) -> None:
        """See that nothing is asked for that only one machine can do, and that there is enough.

        Raises:
            ConfigError: a setting is for one machine.
            GraphError: the environment's clock is.
            ClusterError: the cluster has too little, and the job is not to wait.
        """
        if config.workers is not Workers.THREAD:
            raise ConfigError(
                f"workers is {config.workers.value!r}, which is for one machine; leave it out: on "
                "Ray each replica has a process of its own"
            )
        if config.memory_limit is not None:
            raise ConfigError(
                "memory_limit is for one machine; on Ray give operators memory=, by which they are "
                "placed"
            )
        if services.injected:
            raise GraphError("the environment's clock does not reach other machines; leave it out")
        each = {stage.name: needs_of(stage) for stage in plan.stages}
        self._cluster.check(total_of(plan), each)

    def runtime(self, attempt: Attempt) -> RayRuntime:
        """Return what runs an attempt.

        Raises:
            GraphError: an operator or service cannot be sent to another process.
        """
        nodes = [node for stage in attempt.plan.stages for node in stage.nodes]
        lists = {node.id: list_of(node) for node in nodes}
        window = self._cluster.window(links_of(attempt.plan))
        return RayRuntime(
            attempt,
            [_orders(attempt, stage, window) for stage in attempt.plan.stages],
            {id_: records for id_, records in lists.items() if records is not None},
            self._cluster,
        )


def _orders(attempt: Attempt, stage: Stage, window: int) -> list[bytes]:
    """Return what the actors of a stage are told, pickled."""
    shipped = replace(stage, nodes=tuple(map(sent_home, stage.nodes)))
    resumption = attempt.resumption
    order = Order(
        stage=shipped,
        index=0,
        config=attempt.config,
        profile=attempt.profile,
        registrations=attempt.services.registered.registrations,
        producers=producers_of(attempt.plan, stage),
        checkpointed=attempt.checkpointer is not None,
        resumption=None if resumption is None else resumption.of(stage),
        window=window,
    )
    try:
        return [dump_by_value(replace(order, index=index)) for index in range(stage.parallelism)]
    except Exception:
        _check_sendable(attempt, shipped.nodes)
        raise


def _check_sendable(attempt: Attempt, nodes: Sequence[Node]) -> None:
    """Raise `GraphError` for what cannot be pickled."""
    for node in nodes:
        try:
            dump_by_value(node.blueprint)
        except Exception as error:
            what = "source" if node.kind is Kind.SOURCE else "operator"
            raise GraphError(
                f"{what} {node.name!r} cannot be sent to the cluster ({error}); make what cannot "
                "be pickled in open(), or give a function or a class that makes it"
            ) from error
    for registration in attempt.services.registered.registrations:
        try:
            dump_by_value(registration)
        except Exception as error:
            raise GraphError(
                f"service {registration.name!r} cannot be sent to the cluster ({error}); give "
                "arguments that can be pickled"
            ) from error
