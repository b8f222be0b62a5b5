"""Whether engines fit on the nodes of a cluster, and how many CPUs each may have; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sage.inference.engines.remote.order import Need

# Ray counts in ten-thousandths; sums of shares such as 0.1 must not fail by rounding.
_EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class Room:
    """What one node has free.

    Attributes:
        name: of the node, for people.
        cpus: CPUs.
        gpus: GPUs.
    """

    name: str
    cpus: float
    gpus: float

    def holds(self, need: Need) -> bool:
        """Whether one engine more fits."""
        return need.cpus <= self.cpus + _EPSILON and need.gpus <= self.gpus + _EPSILON

    def without(self, need: Need) -> Room:
        """Return what is left when an engine has its place."""
        return replace(self, cpus=self.cpus - need.cpus, gpus=self.gpus - need.gpus)


def equal_share(rooms: Sequence[Room], engines: int) -> int:
    """Return the most whole CPUs that each of so many engines can have; at least 1."""
    most = int(max((room.cpus for room in rooms), default=1))
    for cpus in range(most, 1, -1):
        if sum(int(room.cpus // cpus) for room in rooms) >= engines:
            return cpus
    return 1


def most_on_a_node(rooms: Sequence[Room], need: Need, engines: int) -> int:
    """Return how many engines can come to lie on one node, which share its memory."""
    return max([1, *(min(engines, _count(room, need)) for room in rooms)])


def _count(room: Room, need: Need) -> int:
    counts = [
        math.floor((has + _EPSILON) / asked)
        for has, asked in ((room.cpus, need.cpus), (room.gpus, need.gpus))
        if asked > 0
    ]
    return min(counts, default=10**6)


def misfit(needs: Sequence[Need], rooms: Sequence[Room]) -> str | None:
    """Say what is short when not all engines fit, with what they need and what is free.

    The largest are placed first, each where it leaves the least.

    Args:
        needs: one an engine.
        rooms: one a node.

    Returns:
        A clause for a message, or None when all fit.
    """
    left = list(rooms)
    for need in sorted(needs, key=lambda need: (need.gpus, need.cpus), reverse=True):
        fitting = [room for room in left if room.holds(need)]
        if not fitting:
            return _short(needs, rooms)
        best = min(fitting, key=lambda room: (room.gpus - need.gpus, room.cpus - need.cpus))
        left[left.index(best)] = best.without(need)
    return None


def _short(needs: Sequence[Need], rooms: Sequence[Room]) -> str:
    asked = Need(sum(need.cpus for need in needs), sum(need.gpus for need in needs))
    each = " and ".join(dict.fromkeys(str(need) for need in needs))
    free = ", ".join(f"{Need(room.cpus, room.gpus)} on {room.name}" for room in rooms)
    what = f"{asked}, {each} each on one node" if len(needs) > 1 else f"{asked} on one node"
    plural = "s need" if len(needs) > 1 else " needs"
    return f"{len(needs)} engine{plural} {what}; free: {free or 'no node is alive'}"
