"""From a plan to the objects that run it."""

from __future__ import annotations

import pickle

from sage.dataflow.guard import JobServices
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.resources import Allocation
from sage.dataflow.runtime.failure import Dump
from sage.dataflow.runtime.processes import ProcessStageReplica
from sage.dataflow.stage import StageReplica
from sage.dataflow.workers import Workers


def build_replicas(
    plan: Plan,
    services: JobServices,
    allocation: Allocation,
    *,
    profile: bool = False,
    dump: Dump | None = None,
) -> list[list[StageReplica]]:
    """Make every stage's replicas; the user's classes are constructed and instances copied here.

    Args:
        plan: the stages.
        services: of the job.
        allocation: which GPUs each replica gets.
        profile: measure every batch operator by operator.
        dump: pickles the states of operators, and what goes to worker processes and back; None
            for plain pickle.

    Raises:
        GraphError: an instance cannot be copied.
    """
    return [_build_stage(stage, services, allocation, profile, dump) for stage in plan.stages]


def _build_stage(
    stage: Stage,
    services: JobServices,
    allocation: Allocation,
    profile: bool,
    dump: Dump | None,
) -> list[StageReplica]:
    count = stage.parallelism
    shares = [allocation.share(stage, index) for index in range(count)]
    if stage.workers is Workers.PROCESS:
        return [
            ProcessStageReplica(stage, index, services, shares[index], profile=profile, dump=dump)
            for index in range(count)
        ]
    targets = [node.blueprint.replicas(count, node.name) for node in stage.nodes]
    return [
        StageReplica(
            stage,
            [
                OperatorReplica(node, made[index], index, services, resources)
                for node, made, resources in zip(
                    stage.nodes, targets, shares[index].resources, strict=True
                )
            ],
            profile=profile,
            dump=dump or pickle.dumps,
        )
        for index in range(count)
    ]
