"""The waiting queue stays fast and small however many leave it early."""

from __future__ import annotations

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.policies.orderings import ArrivalOrder, PriorityOrder
from sage.inference.scheduling.queue import RequestQueue
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.tenants import TokenCounters


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


def test_lanes_take_turns_by_what_tenants_were_served() -> None:
    """Among heads of one level the tenant served least goes next; a better level goes first."""
    counters = TokenCounters({"a": 1.0})
    queue = RequestQueue(PriorityOrder(), counters)
    group = Group(Kind.LLM, "m", queue)
    rows = [("a", 0), ("a", 0), ("a", 0), ("b", 0), ("b", -10), ("c", 10), ("c", 0)]
    for order, (tenant, priority) in enumerate(rows):
        item = Request(order, Kind.LLM, "m", 0.0, priority=priority, tenant=tenant)
        queue.push(Entry(item, order, group), 0.0)
    served = []
    while (head := queue.peek(0.0)) is not None:
        entry = head[2]
        queue.remove(entry)
        counters.serves(entry.request.tenant, 100, chosen=True)
        served.append(entry.order)
    assert served == [5, 0, 3, 1, 6, 2, 4]
    assert len(queue) == 0
    assert queue.oldest() is None


def test_lanes_of_tenants_that_come_and_go_do_not_pile_up() -> None:
    """A thousand tenants with a request each leave nothing behind."""
    queue = RequestQueue(ArrivalOrder(), TokenCounters())
    group = Group(Kind.LLM, "m", queue)
    for order in range(1000):
        item = Request(order, Kind.LLM, "m", 0.0, tenant=f"t{order}")
        entry = Entry(item, order, group)
        queue.push(entry, 0.0)
        queue.remove(entry)
    assert queue.peek(0.0) is None
    assert len(queue._lanes) == 0
    assert len(queue._top) <= 40
    assert len(queue._ages) <= 40


def test_peek_ranks_a_bounded_number_afresh() -> None:
    """When many ranks have grown at once, one look at the head stays short."""

    class Growing:
        calls = 0

        def rank(self, request: Request, now: float) -> tuple[float, ...]:
            self.calls += 1
            return (now,)

    ordering = Growing()
    queue = RequestQueue(ordering)
    group = Group(Kind.LLM, "m", queue)
    for order in range(1000):
        queue.push(Entry(Request(order, Kind.LLM, "m", 0.0), order, group), 0.0)
    ordering.calls = 0
    assert queue.peek(1.0) is not None
    assert ordering.calls <= 40
