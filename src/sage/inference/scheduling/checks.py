"""Sums that must agree, whatever has happened."""

from __future__ import annotations

from collections.abc import Mapping

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.ledger import Counts


def broken_sums(counts: Counts, fleet: Fleet, entries: Mapping[int, Entry]) -> list[str]:
    """Return the names of those that do not: [] when all is well."""
    c = counts
    states = [*fleet.instances.values(), *fleet.retired]
    running = sum(len(state.running) for state in states)
    waiting = sum(1 for entry in entries.values() if entry.instance is None)
    in_queues = sum(group.waiting for group in fleet.groups.values())
    ends = c.rejected + c.done + c.failed + c.cancelled
    checks = {
        "submitted = ends + queued + in flight": c.submitted == ends + c.queued + c.in_flight,
        "in flight = running at instances": c.in_flight == running,
        "queued = waiting in queues": c.queued == waiting == in_queues,
        "a model with no instance up has no queue": all(
            group.up or not group.queue for group in fleet.groups.values()
        ),
    }
    broken = [name for name, holds in checks.items() if not holds]
    for state in states:
        held = [entry for entry in entries.values() if entry.instance is state]
        ended = state.done + state.failed + state.cancelled
        if state.dispatched != ended + len(state.running):
            broken.append(f"{state.spec.id}: dispatched = ends + running")
        if state.tokens != sum(entry.held for entry in held):
            broken.append(f"{state.spec.id}: tokens = those of what it holds")
        if state.prefill != sum(entry.prefill for entry in held):
            broken.append(f"{state.spec.id}: prefill = that of what it holds")
    return broken
