"""The waiting queue stays fast and small however many leave it early."""

from __future__ import annotations

from sage.inference.scheduling.policies.orderings import ArrivalOrder
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.queue import RequestQueue
from sage.inference.scheduling.request import Kind, Request


def test_removed_entries_do_not_pile_up() -> None:
    """After 1,000 cancellations the heap holds little more than what still waits."""
    queue = RequestQueue(ArrivalOrder())
    group = Group(Kind.LLM, "m", queue)
    entries = [Entry(Request(n, Kind.LLM, "m", 0.0), n, group) for n in range(1000)]
    for entry in entries:
        queue.push(entry, 0.0)
    for entry in entries[:-10]:
        queue.remove(entry)
    assert len(queue) == 10
    assert len(queue._lanes[""].heap) <= 32
    assert [entry.order for entry in sorted(queue, key=lambda e: e.order)] == list(range(990, 1000))
    head = queue.peek(0.0)
    assert head is not None
    assert head[1] == 990
