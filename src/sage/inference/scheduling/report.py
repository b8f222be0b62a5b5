"""The scheduler's figures, as one dict for pages and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.ledger import Counts
from sage.inference.scheduling.statistics import Figures, Statistics


def describe(
    fleet: Fleet,
    statistics: Statistics,
    entries: Mapping[int, Entry],
    now: float,
    *,
    policy: str,
    counts: Counts,
) -> dict[str, Any]:
    """Return everything that is measured; times in seconds over the last minute.

    ::

        {"policy": name,
         "requests": Counts as a dict,
         "classes": {class: {"queued", "in_flight", "done", "failed", "cancelled", "rejected",
                             "queue_time_s" | "ttft_s" | "tpot_s" | "e2e_s": {"p50", "p95", "p99"},
                             "slo": {"met", "missed", "failed", "rejected", "attainment"}}},
         "instances": {id: {"up", "queued", "in_flight", "tokens", "waiting_prefill_tokens",
                            "dispatched", the ends and times of a class, "latency", "telemetry"}},
         "models": [{"model", "kind", "queued", "instances"}]}

    An instance's ``queued`` are the requests that wait for one of its models.
    """
    return {
        "policy": policy,
        "requests": asdict(counts),
        "classes": statistics.describe_classes(entries.values(), now),
        "instances": {
            state.spec.id: _instance(state, fleet, statistics, now)
            for state in fleet.instances.values()
        },
        "models": [
            {
                "model": group.model,
                "kind": group.kind.value,
                "queued": group.waiting,
                "instances": [state.spec.id for state in group.instances],
            }
            for group in fleet.groups.values()
        ],
    }


def _instance(
    state: InstanceState, fleet: Fleet, statistics: Statistics, now: float
) -> dict[str, Any]:
    figures = statistics.instances.get(state.spec.id) or Figures()
    measured = figures.describe(now)
    del measured["rejected"]  # requests are refused by the scheduler, never by an instance
    return {
        **measured,
        "up": state.up,
        "queued": sum(group.waiting for group in fleet.groups_of(state)),
        "in_flight": len(state.running),
        "tokens": state.tokens,
        "waiting_prefill_tokens": state.prefill,
        "dispatched": state.dispatched,
        "done": state.done,
        "failed": state.failed,
        "cancelled": state.cancelled,
        "latency": _latency(state),
        "telemetry": None if state.telemetry is None else asdict(state.telemetry),
    }


def _latency(state: InstanceState) -> dict[str, float] | None:
    model = state.latency
    if not model.ready:
        return None
    return {
        "prefill_constant_s": model.constant,
        "prefill_s_per_token": model.prefill_per_token,
        "step_s": model.step(1.0),
        "step_s_at_batch_32": model.step(32.0),
        "margin_p95": model.margin,
    }
