"""SAGE's own policies, put together."""

from __future__ import annotations

from sage.inference.scheduling.policies.adaptive import Adaptive
from sage.inference.scheduling.policies.orderings import (
    ArrivalOrder,
    LaneOrder,
    PriorityOrder,
    SlackOrder,
    TtlOrder,
)
from sage.inference.scheduling.policies.peers import LowestLatency, PowerOfTwo, Random
from sage.inference.scheduling.policies.placements import (
    CheapestCapable,
    LeastBusy,
    LeastStall,
    LeastWork,
)
from sage.inference.scheduling.policy import Placement, SchedulingPolicy, View
from sage.inference.scheduling.request import Request, is_bulk

_BULK_KEEPS_OFF = 0.25


def fifo() -> SchedulingPolicy:
    """Return arrival order with least-busy placement."""
    return SchedulingPolicy("fifo", ArrivalOrder(), LeastBusy())


def priority() -> SchedulingPolicy:
    """Return priority order with least-busy placement."""
    return SchedulingPolicy("priority", PriorityOrder(), LeastBusy(), fair=True, sheds=True)


def slo_aware() -> SchedulingPolicy:
    """Return slack order, paced, placed by work."""
    return _by_slack("slo_aware", SlackOrder(), LeastWork())


def cost_optimized() -> SchedulingPolicy:
    """Return slack order, placed on the cheapest that is fast enough."""
    return _by_slack("cost_optimized", SlackOrder(), CheapestCapable())


def adaptive() -> SchedulingPolicy:
    """Return the policy that changes sides by load."""
    both = Adaptive()
    return SchedulingPolicy(
        "adaptive",
        both,
        both,
        fair=True,
        sheds=True,
        paced=True,
        bind=both.bind,
        review=both.review,
    )


def hybrid() -> SchedulingPolicy:
    """Return lanes for what someone waits for and for bulk, with slots kept from bulk."""
    work = LeastWork()
    return SchedulingPolicy(
        "hybrid",
        LaneOrder(),
        work,
        fair=True,
        sheds=True,
        paced=True,
        reserved=_kept_from_bulk,
        bind=work.bind,
    )


def hybrid_slo() -> SchedulingPolicy:
    """Return slack order over lanes, with slots kept from bulk."""
    return _by_slack("hybrid_slo", SlackOrder(lanes=True), LeastStall(), lanes=True)


def random() -> SchedulingPolicy:
    """Return random placement."""
    placement = Random()
    return SchedulingPolicy("random", ArrivalOrder(), placement, bind=placement.bind)


def power_of_two() -> SchedulingPolicy:
    """Return the better of two by chance."""
    placement = PowerOfTwo()
    return SchedulingPolicy("power_of_two", ArrivalOrder(), placement, bind=placement.bind)


def lmetric() -> SchedulingPolicy:
    """Return LMetric as published."""
    placement = LeastWork(by_speed=False)
    return SchedulingPolicy("lmetric", ArrivalOrder(), placement, bind=placement.bind)


def latency_based() -> SchedulingPolicy:
    """Return LiteLLM's latency-based routing."""
    placement = LowestLatency()
    return SchedulingPolicy(
        "latency_based",
        ArrivalOrder(),
        placement,
        bind=placement.bind,
        completed=placement.completed,
    )


def edf_ttl() -> SchedulingPolicy:
    """Return llm-d's order by priority and expiry."""
    ordering = TtlOrder()
    return SchedulingPolicy("edf_ttl", ordering, LeastBusy(), sheds=True, bind=ordering.bind)


def by_arrival(name: str, placement: Placement) -> SchedulingPolicy:
    """Return arrival order with a placement that needs nothing else."""
    return SchedulingPolicy(name, ArrivalOrder(), placement)


def _by_slack(
    name: str,
    ordering: SlackOrder,
    placement: LeastWork | LeastStall | CheapestCapable,
    *,
    lanes: bool = False,
) -> SchedulingPolicy:
    def bind(view: View) -> None:
        ordering.bind(view)
        placement.bind(view)

    return SchedulingPolicy(
        name,
        ordering,
        placement,
        fair=True,
        sheds=True,
        paced=True,
        guards=lanes,
        triages=lanes,
        reserved=_kept_from_bulk if lanes else None,
        bind=bind,
    )


def _kept_from_bulk(request: Request) -> float:
    return _BULK_KEEPS_OFF if is_bulk(request) else 0.0
