"""A scheduling policy that knows when each request's prompt must begin."""

from __future__ import annotations

from collections.abc import Sequence

from sage.inference.scheduling.policies.placements import LeastWork
from sage.inference.scheduling.policy import Rank, SchedulingPolicy
from sage.inference.scheduling.request import Request


class PlannedOrder:
    """By ranks that are set beforehand, for requests numbered from 1 as they arrive."""

    def __init__(self, ranks: Sequence[float]) -> None:
        self._ranks = ranks

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the planned rank."""
        return (self._ranks[request.id - 1],)


def earliest_deadline(starts: Sequence[float], *, paced: bool) -> SchedulingPolicy:
    """Return a policy by the latest start that is still in time, placed by prefill and batch.

    Args:
        starts: when each request must begin at the latest, in order of arrival.
        paced: whether prompts wait at the gateway while an engine has half a chunk to prefill.
    """
    work = LeastWork(by_speed=False)
    name = "earliest deadline, paced" if paced else "earliest deadline"
    return SchedulingPolicy(name, PlannedOrder(starts), work, paced=paced, bind=work.bind)
