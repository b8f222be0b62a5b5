"""Exchanges written down by hand, as a load would have left them."""

from __future__ import annotations

from sage.benchmark.exchange import Exchange
from sage.benchmark.workload import PlannedRequest, TrafficClass


def exchange(
    index: int,
    at: float,
    *,
    e2e: float,
    ttft: float | None = None,
    tokens: int = 11,
    slot: float = 0.0,
    lag: float = 0.0,
    instance: str = "",
    tenant: str = "",
    traffic: TrafficClass = TrafficClass.CHAT,
) -> Exchange:
    """Return a good answer.

    Args:
        index: the request's.
        at: seconds when it should have left.
        e2e: seconds from then to its end.
        ttft: seconds from then to its first token; half of ``e2e`` by default.
        tokens: of the answer, at equal gaps.
        slot: seconds it waited for a free slot.
        lag: seconds it left late without having to.
        instance: that answered.
        tenant: who asked.
        traffic: what for.
    """
    request = PlannedRequest(index, at, traffic, prompt_tokens=10, tenant=tenant)
    found = Exchange(request, intended=at, ready=at + slot)
    found.sent = found.ready + lag
    found.status = 200
    found.instance = instance
    found.ended = at + e2e
    if traffic is TrafficClass.CHAT:
        first = e2e / 2 if ttft is None else ttft
        gap = (e2e - first) / max(1, tokens - 1)
        found.token_times = [at + first + number * gap for number in range(tokens)]
        found.output_tokens = tokens
    return found
