"""Requests wait for the instance that has their prompt cached, while they have the time."""

from __future__ import annotations

from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO

HEAD = tuple(range(1, 9))
STEP, TOKEN = 0.006, 2e-5


def request(number: int, now: float, prompt: int, prefix: tuple[int, ...] = ()) -> Request:
    slo = SLO(ttft_s=1.0, tpot_s=0.05)
    return Request(number, Kind.LLM, "m", now, prompt, 50, slo=slo, prefix=prefix, streamed=True)


def fleet() -> tuple[Scheduler, float]:
    """Return two instances whose steps are known, the first with HEAD cached; and the time."""
    core = Scheduler("hybrid_slo")
    now, number = 0.0, 0
    for name in ("a", "b"):
        core.instance_up(InstanceSpec(name, Kind.LLM, ("m",)), now)
        for _ in range(40):
            prompt = 500 + 97 * number % 6000
            assert core.submit(request(number, now, prompt), now)
            core.first_token(number, now + TOKEN * prompt)
            now += TOKEN * prompt + 50 * STEP
            core.usage(number, prompt, 51, now)
            core.finished(number, now)
            number += 1
        core.instance_down(name, now, "not now")
    core.instance_up(InstanceSpec("a", Kind.LLM, ("m",)), now)
    core.submit(request(1000, now, 8000, HEAD), now)
    core.first_token(1000, now + 0.16)
    core.finished(1000, now + 0.5)
    core.instance_up(InstanceSpec("b", Kind.LLM, ("m",)), now + 0.5)
    return core, now + 0.6


def busy(core: Scheduler, now: float) -> None:
    """Give instance a a prompt of more than a chunk to prefill."""
    core.instance_down("b", now, "not now")
    assert core.submit(request(2000, now, 9000), now) == [Dispatch(2000, "a")]
    core.instance_up(InstanceSpec("b", Kind.LLM, ("m",)), now)


def test_a_cached_prompt_waits_for_its_busy_instance() -> None:
    """It goes there as soon as that has room, though another had room all the time."""
    core, now = fleet()
    busy(core, now)
    assert core.submit(request(1, now, 8000, HEAD), now) == []
    assert core.waiting(1)
    assert core.submit(request(2, now, 500), now) == [Dispatch(2, "b")], "others pass it"
    assert core.first_token(2000, now + 0.18) == [Dispatch(1, "a")]
    assert core.invariants() == []


def test_it_goes_elsewhere_when_it_can_wait_no_longer() -> None:
    """Near its latest start it takes any instance; the scheduler asks to be woken for that."""
    core, now = fleet()
    busy(core, now)
    assert core.submit(request(1, now, 8000, HEAD), now) == []
    late = now + 0.95
    wake = core.next_wake(now)
    assert wake is not None
    assert wake < late
    assert core.tick(late) == [Dispatch(1, "b")]


def test_it_goes_elsewhere_when_its_instance_goes_down() -> None:
    """Nobody waits for an instance that takes no work."""
    core, now = fleet()
    busy(core, now)
    assert core.submit(request(1, now, 8000, HEAD), now) == []
    core.instance_down("a", now + 0.01, "gone")
    assert core.tick(now + 0.02) == [Dispatch(1, "b")]
    assert core.invariants() == []


def test_who_waits_for_an_instance_can_leave() -> None:
    """A cancelled request is out, and the sums agree."""
    core, now = fleet()
    busy(core, now)
    core.submit(request(1, now, 8000, HEAD), now)
    core.cancel(1, now + 0.01)
    assert core.counts().queued == 0
    assert core.first_token(2000, now + 0.18) == []
    assert core.invariants() == []


def test_a_short_beginning_is_not_worth_a_wait() -> None:
    """Where little of the prompt is cached, the instance with room serves it at once."""
    core, now = fleet()
    busy(core, now)
    prefix = (*HEAD[:1], *range(100, 115))
    assert core.submit(request(1, now, 8000, prefix), now) == [Dispatch(1, "b")]
