"""As few as possible are given up for the others to be in time."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.scheduling.admission import Door
from sage.inference.scheduling.decision import Dispatch, Reject
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.policies.orderings import ArrivalOrder
from sage.inference.scheduling.queue import RequestQueue
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.triage import too_many

JOB = st.tuples(st.integers(0, 30), st.integers(0, 12))


def _in_time(jobs: list[tuple[int, int]]) -> bool:
    load = 0
    for deadline, size in sorted(jobs):
        load += size
        if load > deadline:
            return False
    return True


@given(st.lists(JOB, max_size=9))
def test_no_fewer_can_be_given_up(jobs: list[tuple[int, int]]) -> None:
    """The rest is in time, and no larger set of jobs ever is."""
    jobs.sort()
    lost = set(too_many(jobs))
    kept = [job for place, job in enumerate(jobs) if place not in lost]
    assert _in_time(kept)
    larger = combinations(jobs, len(kept) + 1)
    assert not any(_in_time(list(some)) for some in larger)


def test_the_largest_goes_and_of_equals_the_latest() -> None:
    """A large job early on makes way for two small ones; where all are equal the last one goes."""
    assert too_many([(10, 9), (10, 2), (12, 3)]) == [0]
    assert too_many([(2, 1), (2, 1), (2, 1)]) == [2]
    assert too_many([]) == []


def test_a_full_queue_drops_the_largest() -> None:
    """A smaller newcomer takes the place of the largest that waits, of no higher priority."""
    door = Door()
    group = Group(Kind.LLM, "m", RequestQueue(ArrivalOrder()))
    entries = [
        Entry(Request(n, Kind.LLM, "m", 0.0), n, group, waiting=True, size=size)
        for n, size in enumerate((1.0, 3.0, 2.0))
    ]
    for entry in entries:
        door.enters(entry, 10.0, float("inf"), 3)
    assert door.gives_way(0, 2.5, 0.0) is entries[1]
    assert door.gives_way(0, 3.5, 0.0) is None, "the newcomer is the largest itself"
    assert door.gives_way(-1, 0.5, 0.0) is None, "they are above the newcomer"


def test_who_lost_its_slo_long_ago_is_refused_while_others_keep_theirs() -> None:
    """After max_wait it is told so with 429; without others that can be in time it is served."""
    for others in (True, False):
        core = Scheduler("hybrid_slo", max_wait=5.0)
        core.instance_up(InstanceSpec("a", Kind.LLM, ("m",), 1), 0.0)
        core.submit(Request(1, Kind.LLM, "m", 0.0, 100, 10), 0.0)
        slo = SLO(ttft_s=1.0)
        core.submit(Request(2, Kind.LLM, "m", 0.0, 100, 10, slo=slo), 0.0)
        decisions = []
        if others:
            decisions += core.submit(Request(3, Kind.LLM, "m", 5.9, 100, 10, slo=slo), 5.9)
        decisions += core.tick(6.0)
        refused = [item.request_id for item in decisions if isinstance(item, Reject)]
        assert refused == ([2] if others else [])
        assert core.invariants() == []
        assert core.finished(1, 6.1) == [Dispatch(3 if others else 2, "a")]


def _embedding_scheduler(max_queued: int | None = None) -> tuple[Scheduler, float]:
    """Return a scheduler of an engine that takes 1 ms a token, as it has learned, and the time."""
    core = Scheduler("hybrid_slo", max_queued=max_queued)
    core.instance_up(InstanceSpec("a", Kind.EMBEDDING, ("m",), 256), 0.0)
    now = 0.0
    for number in range(1, 21):
        tokens = 50 * (1 + number % 4)
        core.submit(Request(number, Kind.EMBEDDING, "m", now, tokens), now)
        now += 0.001 * tokens
        core.finished(number, now)
    return core, now


@pytest.mark.parametrize(("cls", "tokens"), [("bulk", 3000), ("", 300)])
def test_bulk_embeddings_wait_here_and_texts_pass_them(cls: str, tokens: int) -> None:
    """An engine holds a tenth of a second of work and one bulk request; a text goes at once.

    Bulk is what its class says, and what has 5 s or more until its deadline.
    """
    core, now = _embedding_scheduler()
    bulk = SLO(deadline_s=20.0)
    sent = []
    for number in (21, 22, 23):
        request = Request(number, Kind.EMBEDDING, "m", now, tokens, slo=bulk, cls=cls)
        sent += core.submit(request, now)
    assert [item.request_id for item in sent] == [21]
    text = Request(24, Kind.EMBEDDING, "m", now, 60, slo=SLO(deadline_s=0.5))
    assert [item.request_id for item in core.submit(text, now)] == [24]
    core.finished(24, now + 0.06)
    assert [item.request_id for item in core.finished(21, now + 3.0)] == [22]
    assert core.counts().queued == 1


def test_the_largest_bulk_embedding_is_given_up() -> None:
    """Of what cannot all be in time the largest goes, though it came first; the others are."""
    core, now = _embedding_scheduler()
    sizes = {21: 1000, 22: 3500, 23: 1000, 24: 1000}
    order = []
    for number, tokens in sizes.items():
        slo = SLO(deadline_s=5.0)
        request = Request(number, Kind.EMBEDDING, "m", now, tokens, slo=slo, cls="bulk")
        order += [item.request_id for item in core.submit(request, now)]
    while order[-1] != 24:
        now += 0.001 * sizes[order[-1]]
        decisions = core.finished(order[-1], now)
        order += [item.request_id for item in decisions if isinstance(item, Dispatch)]
    assert order == [21, 23, 24]


def test_in_a_long_queue_those_that_are_soon_due_are_looked_at_between() -> None:
    """Where looking at all each time takes too long, a request is given up no later for it."""
    core, now = _embedding_scheduler(max_queued=5000)
    assert core.submit(_bulk(21, 1000, now, 30.0), now), "the engine is at work"
    for number in range(100, 4100):
        core.submit(_bulk(number, 100, now, 1e6), now)
    now += 0.5
    core.tick(now)
    now += 0.01
    for number, tokens, seconds in ((22, 3500, 4.5), (23, 1000, 2.9), (24, 1000, 2.9)):
        core.submit(_bulk(number, tokens, now, seconds), now)
    now += 0.06
    assert core.finished(21, now) == [Dispatch(23, "a")]
    assert core.finished(23, now + 1.0)[-1] == Dispatch(24, "a")


def _bulk(number: int, tokens: int, now: float, seconds: float) -> Request:
    slo = SLO(deadline_s=seconds)
    return Request(number, Kind.EMBEDDING, "m", now, tokens, slo=slo, cls="bulk")
