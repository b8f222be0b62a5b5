"""What operators ask of the machine, and which GPU each replica gets."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sage.config.settings import visible_devices
from sage.dataflow.graph import Node
from sage.dataflow.needs import Resources
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.workers import Workers
from sage.errors import GraphError

log = logging.getLogger("sage.dataflow")

# Shares of a GPU are added up: a third three times is a whole one.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is.

    Attributes:
        cores: that this process may use.
        devices: its GPUs, by what ``CUDA_VISIBLE_DEVICES`` calls them.
    """

    cores: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What one replica of a stage gets.

    Attributes:
        resources: of each of its operators.
        visible: what its process is to have as ``CUDA_VISIBLE_DEVICES``; None leaves it as it is.
    """

    resources: tuple[Resources, ...]
    visible: str | None = None


class Allocation:
    """Which GPUs each replica of a plan's operators gets.

    Args:
        plan: the stages.
        machine: what there is.

    Raises:
        GraphError: the operators ask for more GPUs than there are.
    """

    def __init__(self, plan: Plan, machine: Machine) -> None:
        self._machine = machine
        nodes = [node for stage in plan.stages for node in stage.nodes]
        _check(nodes, machine)
        self._given = _assign(nodes, len(machine.devices))

    def share(self, stage: Stage, index: int) -> Share:
        """Return what a replica of a stage gets."""
        given = [self._given.get((node.id, index), ()) for node in stage.nodes]
        held = sorted({number for numbers in given for number in numbers})
        apart = stage.workers is Workers.PROCESS and bool(held)
        # A process that sees only its own GPUs numbers them from 0.
        names = {number: held.index(number) if apart else number for number in held}
        resources = tuple(
            Resources(
                node.options.cpus,
                node.options.gpus or 0.0,
                tuple(f"cuda:{names[number]}" for number in numbers),
            )
            for node, numbers in zip(stage.nodes, given, strict=True)
        )
        visible = ",".join(self._machine.devices[number] for number in held)
        return Share(resources, visible if apart else None)


def this_machine() -> Machine:
    """Look at the machine; ``CUDA_VISIBLE_DEVICES`` says which GPUs count, if it is set."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    named = visible_devices()
    return Machine(cores, _device_files() if named is None else named)


def _device_files() -> tuple[str, ...]:
    """Return a number for each GPU that NVIDIA's driver shows to this machine or container."""
    found = [path for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()]
    return tuple(map(str, range(len(found))))


def _check(nodes: Iterable[Node], machine: Machine) -> None:
    nodes = list(nodes)
    cpus = sum(node.parallelism * (node.options.cpus or 0) for node in nodes)
    if cpus > machine.cores:
        log.warning(
            "operators ask for %g CPU cores in all, and there are %d: they share them",
            cpus,
            machine.cores,
        )
    gpus = sum(node.parallelism * (node.options.gpus or 0) for node in nodes)
    if gpus > len(machine.devices) + ROUNDING:
        asked = ", ".join(
            f"{node.name!r} {node.parallelism} × {node.options.gpus:g}"
            for node in nodes
            if node.options.gpus
        )
        raise GraphError(
            f"operators ask for {gpus:g} GPUs in all ({asked}), and there are "
            f"{len(machine.devices)}; lower gpus or parallelism"
        )


def _assign(nodes: Iterable[Node], count: int) -> dict[tuple[int, int], tuple[int, ...]]:
    """Give whole GPUs first, then shares, in turn."""
    free = [1.0] * count
    given: dict[tuple[int, int], tuple[int, ...]] = {}
    asking = sorted((node for node in nodes if node.options.gpus), key=lambda node: -_gpus(node))
    turn = 0
    for node in asking:
        for index in range(node.parallelism):
            wanted = _gpus(node)
            numbers = _next_devices(free, wanted, turn)
            if numbers is None:
                raise GraphError(
                    f"operator {node.name!r} asks for {wanted:g} GPUs for each of "
                    f"{node.parallelism} replicas, and what the others leave of {count} GPUs is in "
                    "smaller pieces; lower gpus or parallelism"
                )
            for number in numbers:
                free[number] -= min(wanted, 1.0)
            turn = numbers[-1] + 1
            given[node.id, index] = numbers
    return given


def _gpus(node: Node) -> float:
    return node.options.gpus or 0.0


def _next_devices(free: Sequence[float], wanted: float, turn: int) -> tuple[int, ...] | None:
    """Return the next devices from ``turn`` on with room for a replica, or None."""
    order = [(turn + step) % len(free) for step in range(len(free))]
    each, count = min(wanted, 1.0), max(int(wanted), 1)
    fitting = [number for number in order if free[number] >= each - ROUNDING][:count]
    return tuple(fitting) if len(fitting) == count else None
