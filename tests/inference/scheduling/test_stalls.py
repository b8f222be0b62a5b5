"""Streams keep their TPOT because no more prefill is given to an instance than they can bear."""

from __future__ import annotations

import random

import pytest

from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.stalls import Stalls, StepModel

# As measured on one H100 with a 7B model: seconds a step, a token held, a prompt token, a pair.
STEP, HELD, TOKEN, PAIR = 6.1e-3, 1.85e-8, 2.0e-5, 8.8e-10


def taught(slow: float = 1.0, seed: int = 0) -> StepModel:
    model = StepModel()
    rng = random.Random(seed)
    for count in range(400):
        n, held = rng.randint(2, 400), rng.randint(1000, 600_000)
        new = n * rng.uniform(0, 1500)
        pairs = new * rng.uniform(100, 10_000)
        seconds = n * (STEP + HELD * held) + TOKEN * new + PAIR * pairs
        noise = rng.uniform(0.95, 1.05)
        taken = slow * seconds * noise
        model.learn(n, held, new, pairs, seconds=taken, now=count * 0.1)
    return model


@pytest.mark.parametrize("slow", [1.0, 100.0])
def test_steps_and_prefill_are_told_apart(slow: float) -> None:
    """From the streams' own times alone, on a fast engine and on a slow one."""
    model = taught(slow)
    for held in (10_000, 100_000, 500_000):
        assert model.step(held) == pytest.approx(slow * (STEP + HELD * held), rel=0.15)
    for new in (1000, 8000):
        seconds = TOKEN * new + PAIR * new * new / 2
        assert model.prefill(new, 0) == pytest.approx(slow * seconds, rel=0.15)
    assert model.prefill(100, 8000) > model.prefill(100, 0)


def test_a_stream_bears_what_its_pace_leaves() -> None:
    """Each further token bears its TPOT less the step; prefill that is given uses that up."""
    stalls = Stalls()
    stalls.bears(1, 100, 0.05, 0, 0.0)
    assert stalls.spare({1}, 0, 0.0) == pytest.approx(5.0)
    stalls.given += 2.0
    assert stalls.spare({1}, 0, 0.0) == pytest.approx(3.0)
    stalls.bears(2, 10, 0.05, 0, 0.0)
    assert stalls.spare({1, 2}, 0, 0.0) == pytest.approx(3.0), "0.5 s are less than given: lost"


def test_who_has_ended_holds_nothing_back() -> None:
    """Only streams that the instance still runs count."""
    stalls = Stalls()
    stalls.bears(1, 10, 0.05, 0, 0.0)
    stalls.bears(2, 100, 0.05, 0, 0.0)
    assert stalls.spare({1, 2}, 0, 0.0) == pytest.approx(0.5)
    assert stalls.spare({2}, 0, 0.0) == pytest.approx(5.0)
    assert stalls.spare(set(), 0, 0.0) == float("inf")


def test_a_stream_longer_than_expected_bears_more() -> None:
    """After the time it was expected to take it has had more tokens, each with its own room."""
    stalls = Stalls()
    stalls.bears(1, 100, 0.05, 0, 0.0)
    stalls.given = stalls.done = 4.9
    assert stalls.spare({1}, 0, 4.9) == pytest.approx(0.1)
    assert stalls.spare({1}, 0, 5.0) == pytest.approx(5.0)


def test_a_long_prompt_waits_for_streams_under_hybrid_slo() -> None:
    """It would break a short stream's pace, so it goes when that has ended; fifo lets it in."""
    for policy, waits in (("hybrid_slo", True), ("fifo", False)):
        core = Scheduler(policy)
        core.instance_up(InstanceSpec("a", Kind.LLM, ("m",)), 0.0)
        now = _teach(core)
        short = Request(10_001, Kind.LLM, "m", now, 100, 20, slo=SLO(1.0, 0.05), streamed=True)
        assert isinstance(core.submit(short, now)[0], Dispatch)
        core.first_token(10_001, now + 0.01)
        long = Request(10_002, Kind.LLM, "m", now, 30_000, 20, slo=SLO(20.0, 0.2), streamed=True)
        decisions = core.submit(long, now + 0.02)
        assert core.waiting(10_002) == waits
        assert bool(decisions) != waits
        core.usage(10_001, 100, 20, now + 0.2)
        decisions = core.finished(10_001, now + 0.2)
        assert [item.request_id for item in decisions] == ([10_002] if waits else [])


def test_steps_that_grow_leave_a_stream_less_to_bear() -> None:
    """Of 100 tokens due at 50 ms, those that come in a wave of others take 30 ms, not 10."""
    stalls = Stalls()
    stalls.steps = taught()
    base, each = stalls.steps.base, stalls.steps.each_held
    held = (0.03 - base) / each
    stalls.bears(1, 100, 0.05, (0.01 - base) / each, 0.0)
    assert stalls.spare({1}, (0.01 - base) / each, 0.5) == pytest.approx(4.0)
    # 0.5 s at a mean of 20 ms are 25 tokens; 75 more take 2.25 s of the 4.5 s left.
    assert stalls.spare({1}, held, 0.5) == pytest.approx(2.25)


@pytest.mark.parametrize("cached", [True, False])
def test_a_prompt_that_is_mostly_cached_goes_where_it_is(cached: bool) -> None:
    """Held back there it would be prefilled whole elsewhere; one that is not cached waits."""
    core = Scheduler("hybrid_slo")
    core.instance_up(InstanceSpec("a", Kind.LLM, ("m",)), 0.0)
    now = _teach(core)
    prefix = tuple(range(20))

    def long(number: int) -> Request:
        return Request(
            *(number, Kind.LLM, "m", now, 30_000, 20),
            slo=SLO(20.0, 0.2),
            prefix=prefix,
            streamed=True,
            prefix_tokens=20_000,
        )

    if cached:
        core.submit(long(10_000), now)
        core.first_token(10_000, now + 1.0)
        core.usage(10_000, 30_000, 20, now + 2.0)
        core.finished(10_000, now + 2.0)
    now += 3.0
    short = Request(10_001, Kind.LLM, "m", now, 100, 20, slo=SLO(1.0, 0.05), streamed=True)
    core.submit(short, now)
    core.first_token(10_001, now + 0.01)
    assert bool(core.submit(long(10_002), now + 0.02)) is cached


def _teach(core: Scheduler) -> float:
    """Serve streams one after the other, each delayed by the next one's prompt."""
    rng = random.Random(1)
    now = 0.0
    core.submit(Request(0, Kind.LLM, "m", now, 1000, 50, streamed=True), now)
    core.first_token(0, now + 0.02)
    since = now + 0.02
    for number in range(1, 200):
        prompt, n = rng.randint(100, 8000), rng.randint(20, 100)
        core.submit(Request(number, Kind.LLM, "m", now, prompt, n, streamed=True), now)
        first = now + TOKEN * prompt
        core.first_token(number, first)
        ended = since + TOKEN * prompt + n * STEP
        core.usage(number - 1, 0, n + 1, ended)
        core.finished(number - 1, ended)
        since = now = ended + 0.01
        core.tick(now)
    core.finished(199, now)
    return now
