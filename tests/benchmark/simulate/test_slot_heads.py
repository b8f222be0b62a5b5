"""Which prompts find their template's beginning in an engine that clears its idle slots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage.benchmark.simulate.engine_request import EngineRequest
from sage.benchmark.simulate.slot_heads import SlotHeads
from tests.benchmark.simulate.support import PROFILE, drive, engine

LONG = 200


@pytest.fixture
def slots() -> SlotHeads:
    """Three slots with a head of 24 tokens, one of which has just been left."""
    slots = SlotHeads(3, 24)
    assert not slots.begin(LONG)
    slots.end(LONG)
    return slots


def test_one_after_the_other_finds_the_head(slots: SlotHeads) -> None:
    """In the slot that was left, though others have been idle for longer."""
    assert slots.begin(LONG)
    slots.end(LONG)
    assert slots.begin(LONG)


def test_a_second_at_once_does_not(slots: SlotHeads) -> None:
    """Idle slots were cleared when the first began."""
    assert slots.begin(LONG)
    assert not slots.begin(LONG)


def test_a_long_prompt_takes_the_slot_that_is_idle_for_longest(slots: SlotHeads) -> None:
    """The head is too little of it for a slot to be chosen by that."""
    assert not slots.begin(10 * LONG)


def test_the_only_idle_slot_is_taken_whatever_it_holds(slots: SlotHeads) -> None:
    """So that under load most prompts find the head."""
    slots.begin(LONG)
    slots.begin(LONG)
    slots.begin(LONG)
    slots.end(LONG)
    assert slots.begin(10 * LONG)


def test_a_short_text_comes_back_once(slots: SlotHeads) -> None:
    """One of which the head is a quarter or more; a long one does not."""
    slots.begin(LONG)
    slots.end(96)
    assert slots.begin(LONG)
    assert slots.begin(LONG)
    assert not slots.begin(LONG)


def test_an_engine_computes_the_head_where_it_is_not_found() -> None:
    """The second of two that overlap takes longer by it, one that comes later does not."""
    base = replace(PROFILE, asynchronous=False, head_tokens=24)
    arrivals = [(0.0, 50), (1.0, 50), (1.1, 2), (3.0, 2)]
    firsts = []
    for clears in (False, True):
        one = engine(replace(base, clears_idle=clears))
        requests = [EngineRequest(i, LONG, output) for i, (_, output) in enumerate(arrivals)]
        drive(one, [(at, r) for (at, _), r in zip(arrivals, requests, strict=True)])
        firsts.append([one.log.times[r.runs[0][0]] for r in requests])
    later = [cleared - kept for kept, cleared in zip(*firsts, strict=True)]
    assert later[1] == later[3] == pytest.approx(0.0)
    assert later[0] > 0
    assert later[2] > 0
