"""Which actors send to which. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sage.dataflow.plan import Plan, Stage
from sage.dataflow.runtime.ray.link import Route


def producers_of(plan: Plan, stage: Stage) -> int:
    """Return how many actors send to each replica of a stage."""
    if stage.paired:
        return 1
    return sum(plan.stages[input_].parallelism for input_ in stage.inputs)


def links_of(plan: Plan) -> int:
    """Return how many pairs of a sender and an inbox a job has."""
    return sum(producers_of(plan, stage) * stage.parallelism for stage in plan.stages)


def routes_of(
    plan: Plan, stage: Stage, index: int, *, actors: Mapping[int, Sequence[Any]], capacity: int
) -> tuple[Route, ...]:
    """Return how a replica reaches the stages that take its records.

    Args:
        plan: the stages.
        stage: the replica's.
        index: its number.
        actors: by a stage's id, those of its replicas.
        capacity: records that may wait for each.
    """
    return tuple(
        Route(
            stage=to.id,
            name=to.name,
            seat=0 if to.paired else _seat(plan, stage, index, to),
            # As on threads: a full channel would stop the loop, which alone can empty it.
            capacity=sys.maxsize if to.loop else capacity,
            inboxes=_inboxes(to, index, actors[to.id]),
        )
        for to in (plan.stages[output] for output in stage.outputs)
    )


def _inboxes(to: Stage, index: int, actors: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """Return the actors of a stage that a replica sends to, by the channel that leads to them."""
    if to.paired:
        return ((actors[index],),)
    return tuple((actor,) for actor in actors) if to.keyed else (tuple(actors),)


def _seat(plan: Plan, stage: Stage, index: int, to: Stage) -> int:
    """Return a number that no other producer of a stage has."""
    before = to.inputs[: to.inputs.index(stage.id)]
    return sum(plan.stages[input_].parallelism for input_ in before) + index
