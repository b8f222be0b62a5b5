"""The scheduling core's decisions, one promise a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from sage.errors import ConfigError, InferenceError
from sage.inference.scheduling.decision import Dispatch, Reject
from sage.inference.scheduling.instance import InstanceSpec, InstanceState
from sage.inference.scheduling.policies.orderings import ArrivalOrder
from sage.inference.scheduling.policies.placements import LeastBusy
from sage.inference.scheduling.policy import Rank, SchedulingPolicy
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler


def spec(name: str, *models: str, limit: int = 1, kind: Kind = Kind.LLM) -> InstanceSpec:
    return InstanceSpec(name, kind, models or ("m",), limit)


def request(number: int, model: str = "m", kind: Kind = Kind.LLM) -> Request:
    return Request(number, kind, model, float(number))


def scheduler(*specs: InstanceSpec, **options: int) -> Scheduler:
    core = Scheduler(**options)  # type: ignore[arg-type]
    for item in specs:
        assert core.instance_up(item, 0.0) == []
    return core


def test_dispatches_at_once_when_a_slot_is_free() -> None:
    """A request with a free instance is dispatched by its submission."""
    core = scheduler(spec("a"))
    assert core.submit(request(1), 1.0) == [Dispatch(1, "a")]
    assert core.instance("a").running == {1}


def test_queue_is_served_in_order_of_arrival() -> None:
    """What waits is dispatched first come, first served, one for each slot that frees."""
    core = scheduler(spec("a"))
    core.submit(request(1), 1.0)
    assert [core.submit(request(n), n) for n in (2, 3)] == [[], []]
    assert core.finished(1, 4.0) == [Dispatch(2, "a")]
    assert core.failed(2, 5.0) == [Dispatch(3, "a")]
    assert core.counts().queued == 0


def test_order_holds_across_the_models_of_one_instance() -> None:
    """An instance with two models serves their queues in one order of arrival."""
    core = scheduler(spec("a", "m", "n"))
    core.submit(request(1, "m"), 1)
    for number, model in ((2, "n"), (3, "m"), (4, "n")):
        core.submit(request(number, model), number)
    served = [core.finished(number, 9.0)[0].request_id for number in (1, 2, 3)]
    assert served == [2, 3, 4]


def test_least_busy_takes_turns_among_equals() -> None:
    """Load is spread evenly, and one request at a time rotates through all instances."""
    core = scheduler(*(spec(name, limit=10) for name in "abc"))
    for number in range(9):
        core.submit(request(number), 0.0)
    assert {len(state.running) for state in core.instances()} == {3}
    turns = Counter()
    core = scheduler(*(spec(name, limit=10) for name in "abc"))
    for number in range(9):
        (decision,) = core.submit(request(number), 0.0)
        assert isinstance(decision, Dispatch)
        turns[decision.instance_id] += 1
        core.finished(number, 0.0)
    assert set(turns.values()) == {3}


def test_unknown_model_names_those_there_are() -> None:
    """404 lists the models of the request's kind, and says when it is of the other kind."""
    core = scheduler(spec("a", "m", "n"), spec("e", "v", kind=Kind.EMBEDDING))
    (decision,) = core.submit(request(1, "x"), 0.0)
    assert isinstance(decision, Reject)
    assert decision.status == 404
    assert "'m', 'n'" in decision.reason
    assert "'v'" not in decision.reason
    (decision,) = core.submit(request(2, "v"), 0.0)
    assert isinstance(decision, Reject)
    assert "kind 'embedding'" in decision.reason


def test_full_queue_is_429_with_a_useful_retry_after() -> None:
    """Beyond the queue's limit 429 says when to retry, from how fast requests have ended."""
    core = scheduler(spec("a"), max_queued=2)
    for number in range(4):
        core.submit(request(number), 0.0)
    (early,) = core.submit(request(4), 0.0)
    assert isinstance(early, Reject)
    assert (early.status, early.retry_after) == (429, 1.0)
    core.finished(0, 10.0)
    core.finished(1, 20.0)
    core.submit(request(5), 20.0)
    core.submit(request(6), 20.0)
    (late,) = core.submit(request(7), 20.0)
    assert isinstance(late, Reject)
    assert late.retry_after == 20.0


def test_the_queue_grows_with_the_fleet_by_default() -> None:
    """256 may wait for each instance of a model, of few instances 1,024 in all."""
    for instances, limit in ((1, 1024), (6, 1536)):
        core = scheduler(*(spec(f"i{number}") for number in range(instances)))
        slots = instances * core.instances()[0].spec.max_requests
        refused = [d for n in range(slots + limit) for d in core.submit(request(n), 0.0)][slots:]
        assert refused == []
        (decision,) = core.submit(request(slots + limit), 0.0)
        assert isinstance(decision, Reject)
        assert f"{limit} requests wait" in decision.reason


def test_no_instance_up_is_503() -> None:
    """With every instance down new and waiting requests get 503 with the reason; running stay."""
    core = scheduler(spec("a"))
    core.submit(request(1), 0.0)
    core.submit(request(2), 0.0)
    (waiting,) = core.instance_down("a", 1.0, "killed")
    (fresh,) = core.submit(request(3), 2.0)
    for decision in (waiting, fresh):
        assert isinstance(decision, Reject)
        assert decision.status == 503
        assert "killed" in decision.reason
        assert decision.retry_after is not None
    assert core.counts().in_flight == 1
    assert core.failed(1, 3.0) == []
    core.instance_up(spec("a"), 4.0)
    assert core.submit(request(4), 5.0) == [Dispatch(4, "a")]


def test_undelivered_request_goes_to_an_untried_instance_once_each() -> None:
    """Each instance is tried once; then the request has failed with 502."""
    core = scheduler(spec("a"), spec("b"))
    core.submit(request(1), 0.0)
    assert core.undelivered(1, 1.0) == [Dispatch(1, "b")]
    (decision,) = core.undelivered(1, 2.0)
    assert isinstance(decision, Reject)
    assert decision.status == 502
    assert "a, b" in decision.reason
    assert (core.counts().failed, core.counts().retried) == (1, 1)
    assert core.invariants() == []


def test_undelivered_request_waits_for_an_untried_instance() -> None:
    """A retry waits for a busy untried instance ahead of the queue, and ends if that goes down."""
    core = scheduler(spec("a"), spec("b"))
    core.submit(request(1), 0.0)
    core.submit(request(2), 0.0)
    core.submit(request(3), 0.0)
    assert core.undelivered(1, 1.0) == [Dispatch(3, "a")]
    assert core.counts().queued == 1
    assert core.finished(2, 2.0) == [Dispatch(1, "b")]
    core.submit(request(4), 3.0)
    assert core.undelivered(1, 4.0)[0] == Reject(
        1, 502, "no instance of 'm' could be reached; tried: a, b"
    )

    core = scheduler(spec("a"), spec("b"))
    core.submit(request(1), 0.0)
    core.submit(request(2), 0.0)
    assert core.undelivered(1, 1.0) == []
    (decision,) = core.instance_down("b", 2.0, "killed")
    assert isinstance(decision, Reject)
    assert decision.status == 502
    assert core.invariants() == []


def test_cancel_frees_queue_and_slot() -> None:
    """Cancelling takes a waiting request out, and passes a running one's slot on."""
    core = scheduler(spec("a"))
    for number in (1, 2, 3):
        core.submit(request(number), 0.0)
    assert core.cancel(2, 1.0) == []
    assert core.cancel(1, 1.0) == [Dispatch(3, "a")]
    assert core.counts().cancelled == 2
    with pytest.raises(InferenceError, match="neither queued nor running"):
        core.cancel(2, 1.0)


def test_instances_may_change_and_leave() -> None:
    """A changed limit or model list counts at once; a removed instance's requests still end."""
    core = scheduler(spec("a"))
    for number in (1, 2, 3):
        core.submit(request(number), 0.0)
    assert core.instance_up(spec("a", limit=2), 1.0) == [Dispatch(2, "a")]
    (gone,) = core.instance_up(spec("a", "n", limit=2), 2.0)
    assert isinstance(gone, Reject)
    assert (gone.request_id, gone.status) == (3, 503)
    assert core.models() == [("n", Kind.LLM)]
    assert core.instance_removed("a", 3.0) == []
    assert core.finished(1, 4.0) == []
    assert core.failed(2, 4.0) == []
    assert core.invariants() == []
    assert (core.counts().done, core.counts().failed, core.models()) == (1, 1, [])


def test_events_for_requests_that_are_not_running_are_errors() -> None:
    """An event about an unknown or waiting request, or a second submission, is refused."""
    core = scheduler(spec("a"))
    core.submit(request(1), 0.0)
    core.submit(request(2), 0.0)
    for event in (core.finished, core.failed, core.undelivered, core.first_token):
        for number in (2, 9):
            with pytest.raises(InferenceError, match=f"request {number} is not running"):
                event(number, 1.0)
    with pytest.raises(InferenceError, match="submitted before"):
        core.submit(request(1), 1.0)
    assert core.first_token(1, 1.0) == core.tokens(1, 5, 2.0) == []


def test_policy_can_hold_requests_until_a_tick() -> None:
    """A placement that answers None leaves the request waiting until the next event."""

    class Patient(LeastBusy):
        def choose(
            self, request: Request, instances: Sequence[InstanceState], now: float
        ) -> InstanceState | None:
            return None if now < 5 else super().choose(request, instances, now)

    core = Scheduler(SchedulingPolicy("patient", ArrivalOrder(), Patient()))
    core.instance_up(spec("a"), 0.0)
    assert core.submit(request(1), 1.0) == []
    assert core.tick(4.0) == []
    assert core.tick(5.0) == [Dispatch(1, "a")]


def test_policy_change_reorders_those_that_wait() -> None:
    """set_policy applies the new ordering to the queue that stands."""

    class Newest:
        def rank(self, request: Request, now: float) -> Rank:
            return (-request.arrived,)

    core = scheduler(spec("a"))
    for number in (1, 2, 3):
        core.submit(request(number), 0.0)
    core.set_policy(SchedulingPolicy("newest", Newest(), LeastBusy()), 1.0)
    assert core.finished(1, 2.0) == [Dispatch(3, "a")]


def test_ranks_that_grow_are_looked_at_again() -> None:
    """A head whose rank has grown is passed by those that now rank before it."""

    class HopelessLast:
        def rank(self, request: Request, now: float) -> Rank:
            deadline = {2: 5.0}.get(request.id, 100.0)
            return (float(now > deadline), deadline)

    core = Scheduler(SchedulingPolicy("h", HopelessLast(), LeastBusy()))
    core.instance_up(spec("a"), 0.0)
    for number in (1, 2, 3):
        core.submit(request(number), 0.0)
    assert core.finished(1, 6.0) == [Dispatch(3, "a")]
    assert core.finished(3, 7.0) == [Dispatch(2, "a")]


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "", "models": ("m",)},
        {"id": "a", "models": ()},
        {"id": "a", "models": ("m", "m")},
        {"id": "a", "models": ("m",), "max_requests": 0},
    ],
)
def test_specs_are_checked(bad: dict[str, object]) -> None:
    """An instance without id, models or slots is a configuration error."""
    with pytest.raises(ConfigError):
        InstanceSpec(kind=Kind.LLM, **bad)  # type: ignore[arg-type]
