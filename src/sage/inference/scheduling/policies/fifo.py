"""First come, first served, on the least busy instance."""

from __future__ import annotations

from collections.abc import Sequence

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import Rank, SchedulingPolicy
from sage.inference.scheduling.request import Request


class ArrivalOrder:
    """All ranks are equal, so requests go as they arrived."""

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the one rank there is."""
        return ()


class LeastBusy:
    """The instance with the fewest running requests; among equals the one idle for longest.

    Choosing the one whose last dispatch lies furthest back rotates through equals, gives each
    its turn whichever of them tie, and never floods an instance that has just been added.
    """

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the least busy of ``instances``."""
        if len(instances) == 1:
            return instances[0]
        return min(instances, key=_business)


def _business(state: InstanceState) -> tuple[int, int]:
    return len(state.running), state.last_dispatch


def fifo_policy() -> SchedulingPolicy:
    """Return arrival order with least-busy placement."""
    return SchedulingPolicy("fifo", ArrivalOrder(), LeastBusy())
