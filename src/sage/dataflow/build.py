"""From a plan to the objects that run it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from sage.dataflow.guard import JobServices
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.resources import Allocation, Share
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
    # Those of worker processes are made there.
    apart = stage.workers is Workers.PROCESS
    made = [] if apart else [node.blueprint.replicas(count, node.name) for node in stage.nodes]
    return [
        build_replica(
            stage,
            index,
            services,
            allocation.share(stage, index),
            targets=[each[index] for each in made],
            profile=profile,
            dump=dump,
        )
        for index in range(count)
    ]


def build_replica(
    stage: Stage,
    index: int,
    services: JobServices,
    share: Share,
    *,
    targets: Sequence[Any] | None = None,
    profile: bool,
    dump: Dump | None,
) -> StageReplica:
    """Make one replica of a stage.

    Args:
        stage: whose.
        index: its number among the stage's.
        services: of the job.
        share: what it has of the machine.
        targets: the user's objects, one for each operator; None to make them here. A worker process
            makes its own.
        profile: measure every batch operator by operator.
        dump: as for `build_replicas`.

    Raises:
        GraphError: an operator or a service cannot be sent to a worker process.
    """
    if stage.workers is Workers.PROCESS:
        return ProcessStageReplica(stage, index, services, share, profile=profile, dump=dump)
    if targets is None:
        targets = [node.blueprint.replicas(1, node.name)[0] for node in stage.nodes]
    operators = [
        OperatorReplica(node, target, index, services, resources)
        for node, target, resources in zip(stage.nodes, targets, share.resources, strict=True)
    ]
    return StageReplica(stage, operators, profile=profile, dump=dump or pickle.dumps)
