"""What the actor of a stage's replica asks of its node."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sage.dataflow.needs import Resources
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.resources import ROUNDING, Allocation, Machine
from sage.dataflow.sizes import size_text
from sage.errors import GraphError


@dataclass(frozen=True, slots=True)
class Needs:
    """What is asked for.

    Operators that run as one stage are in one process together: each has its own cores and its own
    share of the GPUs' memory, so they add up.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs; above 1, a whole number.
        memory: bytes.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    memory: int = 0

    def times(self, count: int) -> Needs:
        """Return what so many ask for."""
        return Needs(self.cpus * count, self.gpus * count, self.memory * count)

    def plus(self, other: Needs) -> Needs:
        """Return what two ask for together."""
        return Needs(self.cpus + other.cpus, self.gpus + other.gpus, self.memory + other.memory)

    def fit(self, other: Needs) -> bool:
        """Say whether another has it all."""
        return (
            self.cpus <= other.cpus + ROUNDING
            and self.gpus <= other.gpus + ROUNDING
            and self.memory <= other.memory
        )

    def options(self) -> dict[str, Any]:
        """Return it as Ray's options of an actor."""
        asked = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return {**asked, "memory": self.memory} if self.memory else asked

    def asked(self) -> str:
        """Return what there is of it, as text; empty for nothing."""
        amounts = [
            f"{amount:g} {name}{'s' * (amount != 1)}"
            for name, amount in (("CPU", self.cpus), ("GPU", self.gpus))
            if amount
        ]
        amounts += [f"{size_text(self.memory)} of memory"] if self.memory else []
        return ", ".join(amounts)

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPUs, {self.gpus:g} GPUs"
        return f"{cpus}, {size_text(self.memory)} of memory" if self.memory else cpus


def needs_of(stage: Stage) -> Needs:
    """Return what one replica of a stage asks for.

    Without an operator that says ``cpus`` it asks for none: many stages only wait.
    """
    options = [node.options for node in stage.nodes]
    gpus = sum(option.gpus or 0.0 for option in options)
    return Needs(
        cpus=sum(option.cpus or 0.0 for option in options),
        gpus=gpus if gpus <= 1 else float(_devices(stage, math.ceil(gpus))),
        memory=sum(option.memory or 0 for option in options),
    )


def total_of(plan: Plan) -> Needs:
    """Return what all actors of a job ask for."""
    total = Needs()
    for stage in plan.stages:
        total = total.plus(needs_of(stage).times(stage.parallelism))
    return total


def share_of(stage: Stage, devices: int) -> tuple[Resources, ...]:
    """Return what each operator of a stage gets in an actor that sees so many GPUs."""
    alone = _alone(stage)
    return Allocation(Plan((alone,)), _machine(stage, devices)).share(alone, 0).resources


def _machine(stage: Stage, devices: int) -> Machine:
    """Return an actor as the machine of a stage: Ray has seen to its cores."""
    cores = math.ceil(sum(node.options.cpus or 0.0 for node in stage.nodes))
    return Machine(cores, tuple(map(str, range(devices))))


def _alone(stage: Stage) -> Stage:
    """Return a stage of one replica."""
    return replace(stage, nodes=tuple(replace(node, parallelism=1) for node in stage.nodes))


def _devices(stage: Stage, least: int) -> int:
    """Return how many GPUs hold the operators' shares, none of which is split."""
    alone = Plan((_alone(stage),))
    for count in range(least, least + len(stage.nodes)):
        try:
            Allocation(alone, _machine(stage, count))
        except GraphError:
            continue
        return count
    return least + len(stage.nodes)
