"""What an instance may hold, and how long a request may wait."""

from __future__ import annotations

import pytest

from sage.errors import ConfigError
from sage.inference.scheduling.decision import Dispatch, Reject
from sage.inference.scheduling.group import AGEING_SHARE
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.strategies import StrategyAdapter


def request(number: int, now: float = 0.0, tokens: int = 100, **more: object) -> Request:
    return Request(number, Kind.LLM, "m", now, tokens, 1, **more)  # type: ignore[arg-type]


def core(policy: str, *specs: InstanceSpec, **options: object) -> Scheduler:
    scheduler = Scheduler(policy, **options)  # type: ignore[arg-type]
    for spec in specs:
        scheduler.instance_up(spec, 0.0)
    return scheduler


def one(slots: int = 1, **more: object) -> InstanceSpec:
    return InstanceSpec("a", Kind.LLM, ("m",), slots, **more)  # type: ignore[arg-type]


def dispatched(decisions: list[object]) -> list[int]:
    return [d.request_id for d in decisions if isinstance(d, Dispatch)]


def test_tokens_in_flight_are_bounded() -> None:
    """A request waits while its tokens do not fit beside what runs, even with slots free."""
    scheduler = core("fifo", one(10, max_tokens=250))
    assert scheduler.submit(request(1), 0.0)
    assert scheduler.submit(request(2), 0.0)
    assert scheduler.submit(request(3), 0.0) == []
    assert scheduler.finished(1, 1.0) == [Dispatch(3, "a")]


def may_answer(number: int, most: int) -> Request:
    return Request(number, Kind.LLM, "m", 0.0, 100, most)


def test_a_token_limit_counts_the_longest_answer_that_was_asked_for() -> None:
    """However short the answers before it were: an engine out of room fails all it holds."""
    scheduler = core("fifo", one(10, max_tokens=1000))
    scheduler.submit(may_answer(1, 400), 0.0)
    scheduler.usage(1, 100, 3, 1.0)
    scheduler.finished(1, 1.0)
    assert scheduler.submit(may_answer(2, 400), 2.0)
    assert scheduler.submit(may_answer(3, 400), 2.0)
    assert scheduler.submit(may_answer(4, 400), 2.0) == []
    assert scheduler.instance("a").tokens == 1000
    assert scheduler.submit(may_answer(5, 0), 2.0) == []
    assert scheduler.finished(2, 3.0) == [Dispatch(4, "a")]
    assert scheduler.invariants() == []


def test_no_request_counts_with_more_than_the_engine_serves_at_most() -> None:
    """Clients that ask for any number of tokens are not served one by one for that."""
    scheduler = core("fifo", one(10, max_tokens=1000, max_request_tokens=500))
    assert scheduler.submit(may_answer(1, 100_000), 0.0)
    assert scheduler.submit(may_answer(2, 100_000), 0.0)
    assert scheduler.submit(may_answer(3, 1), 0.0) == []
    assert scheduler.finished(1, 1.0) == [Dispatch(3, "a")]
    assert scheduler.invariants() == []
    with pytest.raises(ConfigError, match="max_request_tokens is 0"):
        one(max_request_tokens=0)


def test_without_a_token_limit_expected_answers_count() -> None:
    """The engine makes room by itself, so what is likely tells most of its load."""
    scheduler = core("fifo", one(10))
    scheduler.submit(may_answer(1, 400), 0.0)
    scheduler.usage(1, 100, 3, 1.0)
    scheduler.finished(1, 1.0)
    scheduler.submit(may_answer(2, 400), 2.0)
    assert scheduler.instance("a").tokens == 103


def test_request_above_the_token_limit_is_served_alone() -> None:
    """What can never fit beside others gets an idle instance."""
    scheduler = core("fifo", one(10, max_tokens=50))
    assert scheduler.submit(request(1, tokens=500), 0.0) == [Dispatch(1, "a")]
    assert scheduler.submit(request(2, tokens=500), 0.0) == []
    assert scheduler.finished(1, 1.0) == [Dispatch(2, "a")]


def test_prefill_is_paced_to_half_a_chunk() -> None:
    """A first token makes room for the next prompts; one prompt may exceed half a chunk."""
    scheduler = core("slo_aware", one(10, chunk_tokens=400))
    assert scheduler.submit(request(1), 0.0)
    assert scheduler.submit(request(2), 0.0)
    assert scheduler.submit(request(3, tokens=300), 0.0) == []
    assert scheduler.first_token(1, 0.1) == []
    assert scheduler.first_token(2, 0.2) == [Dispatch(3, "a")]
    assert scheduler.instance("a").prefill == 300


def test_prefill_that_nobody_reports_is_taken_for_done() -> None:
    """Where answers are not streamed, waiting prefill ends by itself, and next_wake says when."""
    scheduler = core("slo_aware", one(10, chunk_tokens=200))
    scheduler.submit(request(1), 0.0)
    assert scheduler.next_wake(0.0) is None
    assert scheduler.submit(request(2), 0.0) == []
    wake = scheduler.next_wake(0.0)
    assert wake is not None
    assert scheduler.tick(wake / 2) == []
    assert scheduler.tick(wake) == [Dispatch(2, "a")]


def test_engine_short_of_cache_is_left_alone() -> None:
    """An engine that says it queues for want of KV cache gets nothing more, for 5 s at most."""
    scheduler = core("slo_aware", one(10))
    scheduler.submit(request(1), 0.0)
    scheduler.telemetry("a", 0.0, running=1, waiting=3, kv_used=0.99)
    assert scheduler.submit(request(2), 1.0) == []
    assert scheduler.tick(4.9) == []
    assert scheduler.tick(5.1) == [Dispatch(2, "a")]


def test_telemetry_adds_what_others_sent_there() -> None:
    """Requests an engine holds for others count in placement; our own are not counted twice."""
    scheduler = core("lmetric", one(10), InstanceSpec("b", Kind.LLM, ("m",), 10))
    scheduler.telemetry("a", 0.0, running=5, waiting=0, kv_used=0.1)
    assert scheduler.submit(request(1), 0.0) == [Dispatch(1, "b")]
    assert scheduler.instance("a").batch(0.0) == 5
    scheduler.telemetry("b", 0.0, running=1, waiting=0, kv_used=0.1)
    assert scheduler.instance("b").batch(0.0) == 1
    assert scheduler.instance("a").batch(6.0) == 0


@pytest.mark.parametrize("policy", [s.name for s in StrategyAdapter.list()])
@pytest.mark.parametrize("tenants", [None, {"new": 100.0, "old": 1.0}])
def test_nothing_waits_beyond_the_bound(policy: str, tenants: dict[str, float] | None) -> None:
    """Behind k older ones a request is dispatched within 8 (k + 1) dispatches past max_wait.

    Whatever keeps arriving: here, requests that every ordering puts first.
    """
    scheduler = core(policy, one(), max_wait=5.0, tenants=tenants, max_queued=500)
    scheduler.submit(request(0), 0.0)
    old = list(range(1, 4))
    for number in old:
        scheduler.submit(request(number, 0.0, 5000, priority=-10, tenant="old", cls="bulk"), 0.0)
    now, number, running, served = 0.0, 10, 0, []
    while now < 5.0 or len(served) < AGEING_SHARE * (len(old) + 1):
        now += 0.1
        for _ in range(2):
            number += 1
            fresh = request(
                number, now, 1, priority=10, tenant="new", slo=SLO(ttft_s=60.0), cls="chat"
            )
            scheduler.submit(fresh, now)
        scheduler.first_token(running, now)
        (running,) = dispatched(scheduler.finished(running, now))
        if now > 5.0:
            served.append(running)
        elif running in old:
            old.remove(running)
    for place, late in enumerate(old):
        assert served.index(late) < AGEING_SHARE * (place + 1)


@pytest.mark.parametrize("freed_first", [False, True])
def test_shared_instance_does_not_starve_a_model_whose_request_is_large(
    freed_first: bool,
) -> None:
    """An aged request that needs much room gets it, though another model's fit at once.

    Whether those wait for their turn, or arrive when there is room for them and no queue.
    """
    spec = InstanceSpec("a", Kind.LLM, ("m", "n"), 10, 500)
    scheduler = core("priority", spec, max_wait=1.0)
    now, number, running = 0.0, 0, []

    def small() -> list[int]:
        item = Request(number, Kind.LLM, "n", now, 100, 1, priority=10)
        return dispatched(scheduler.submit(item, now))

    for _ in range(4):
        number += 1
        running += small()
    scheduler.submit(request(999, 0.0, 450), now)
    for _ in range(200):
        now += 0.1
        number += 1
        if freed_first:
            running += dispatched(scheduler.finished(running.pop(0), now))
        if 999 not in running:
            running += small()
        if 999 in running:
            break
        if not freed_first:
            running += dispatched(scheduler.finished(running.pop(0), now))
    assert 999 in running
    assert now < 5.0


def test_tenants_share_by_weight() -> None:
    """Two tenants that always wait are served tokens in proportion to their weights."""
    scheduler = core("slo_aware", one(), tenants={"big": 3.0, "small": 1.0}, max_queued=5000)
    scheduler.submit(request(0), 0.0)
    tenant_of = {}
    for number in range(1, 2001):
        tenant_of[number] = "big" if number % 2 else "small"
        scheduler.submit(request(number, tenant=tenant_of[number]), 0.0)
    running, shares = 0, {"big": 0, "small": 0}
    for _ in range(400):
        (running,) = dispatched(scheduler.finished(running, 1.0))
        shares[tenant_of[running]] += 1
    assert shares["big"] == pytest.approx(300, abs=5)


def test_idle_tenant_saves_up_nothing() -> None:
    """One that comes back after others were served takes turns with them, and no more."""
    scheduler = core("slo_aware", one(), max_queued=5000)
    scheduler.submit(request(0), 0.0)
    for number in range(1, 301):
        scheduler.submit(request(number, tenant="busy"), 0.0)
    running = 0
    for _ in range(100):
        (running,) = dispatched(scheduler.finished(running, 1.0))
    for number in range(301, 401):
        scheduler.submit(request(number, tenant="back"), 1.0)
    served = []
    for _ in range(60):
        (running,) = dispatched(scheduler.finished(running, 1.0))
        served.append(running > 300)
    assert sum(served) == pytest.approx(30, abs=2)


def test_deadline_that_cannot_be_met_is_turned_away() -> None:
    """It is held first; once even the fastest instance is too slow for it, 429 with a hint."""
    scheduler = core("slo_aware", one())
    for number in range(20):
        now = float(number)
        scheduler.submit(request(number, now), now)
        scheduler.first_token(number, now + 0.5)
        scheduler.finished(number, now + 0.6)
    scheduler.submit(request(100, 20.0), 20.0)
    late = request(101, 20.0, slo=SLO(deadline_s=2.0))
    assert scheduler.submit(late, 20.0) == []
    assert scheduler.tick(21.2) == []
    (decision,) = scheduler.tick(21.8)
    assert isinstance(decision, Reject)
    assert (decision.request_id, decision.status) == (101, 429)
    assert decision.retry_after is not None
    assert "deadline" in decision.reason
    assert scheduler.stats(22.0)["classes"]["llm"]["slo"]["rejected"] == 1


def test_full_queue_drops_the_hopeless_and_the_low_first() -> None:
    """A newcomer takes the place of one that lost its SLO, then of the lowest in priority."""
    scheduler = core("slo_aware", one(), max_queued=3)
    scheduler.submit(request(0), 0.0)
    scheduler.submit(request(1, slo=SLO(ttft_s=1.0)), 0.0)
    scheduler.submit(request(2, priority=-10), 0.0)
    scheduler.submit(request(3), 0.0)
    scheduler.tick(2.0)
    leaving = []
    for number in (4, 5, 6):
        (decision,) = scheduler.submit(request(number, 2.0), 2.0)
        assert isinstance(decision, Reject)
        assert decision.status == 429
        leaving.append(decision.request_id)
    assert leaving == [1, 2, 6]
    (decision,) = scheduler.submit(request(7, 2.0, priority=10), 2.0)
    assert decision.request_id == 5
    assert scheduler.invariants() == []


def test_fifo_refuses_the_newcomer() -> None:
    """First come, first served sheds nobody who waits."""
    scheduler = core("fifo", one(), max_queued=1)
    scheduler.submit(request(0), 0.0)
    scheduler.submit(request(1, priority=-10), 0.0)
    (decision,) = scheduler.submit(request(2, priority=10), 0.0)
    assert decision.request_id == 2


def test_mistaken_limits_are_refused() -> None:
    """Each names the value."""
    with pytest.raises(ConfigError, match="max_tokens is 0"):
        one(max_tokens=0)
    with pytest.raises(ConfigError, match="cost is -1"):
        one(cost=-1.0)
    with pytest.raises(ConfigError, match="ttft_s of an SLO is 0"):
        SLO(ttft_s=0)
    with pytest.raises(ConfigError, match="weight is 0"):
        Scheduler(tenants={"t": 0})
    with pytest.raises(ConfigError, match="max_wait is -1"):
        Scheduler(max_wait=-1)
