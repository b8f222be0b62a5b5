"""Steps are read from when tokens came."""

from __future__ import annotations

import pytest

from sage.benchmark.calibrate.played import Played
from sage.benchmark.calibrate.step_samples import StepSample, decode_medians, steps_of


def test_a_prompt_beside_a_stream() -> None:
    """The step in which it is computed has the stream's token and its own first one."""
    stream = Played(0.0, 40, 10, [0.100, 0.120, 0.140, 0.300, 0.320])
    late = Played(0.130, 90, 10, [0.301, 0.321])
    first, alone, again, mixed, both = steps_of([stream, late], budget=2048)
    assert (first.idle, first.new, first.begun, first.batch) == (True, 30, 1, 0)
    assert first.pairs == 30 * (10 + 15)
    assert first.ms == pytest.approx(100)
    assert (alone.batch, alone.new, again.new) == (1, 0, 0)
    assert (mixed.new, mixed.begun, mixed.batch, mixed.idle) == (80, 1, 1, False)
    assert mixed.ms == pytest.approx(160.5)
    assert (both.batch, both.context) == (2, 40 + 4 + 90 + 1)


def test_what_is_not_clear_is_left_out() -> None:
    """A step that some stream of the batch had no token of, and one beyond the budget."""
    whole = Played(0.0, 40, 0, [0.100, 0.120, 0.140, 0.160])
    gap = Played(0.0, 40, 0, [0.101, 0.121, 0.161])
    assert [sample.batch for sample in steps_of([whole, gap], budget=2048)] == [2]
    assert steps_of([Played(0.0, 3000, 0, [0.1, 0.12])], budget=2048) == [
        StepSample(pytest.approx(20.0), batch=1, context=3001)
    ]


def test_tokens_that_were_held_up_are_no_step() -> None:
    """A stream's first two came at once, the second with another's first."""
    held = Played(0.0, 40, 0, [0.1000, 0.1001, 0.140, 0.160])
    other = Played(0.0, 300, 0, [0.1001, 0.140, 0.160])
    samples = steps_of([held, other], budget=2048)
    assert [(sample.new, sample.batch) for sample in samples] == [(40, 0), (0, 2), (0, 2)]


def test_steps_alike_are_one() -> None:
    """The median of their times, whatever one pause did; steps with prompts stay."""
    alike = [StepSample(ms, batch=2, context=100) for ms in (10.0, 11.0, 200.0)]
    prompt = StepSample(50.0, new=64, pairs=2048.0, begun=1)
    few = [StepSample(9.0, batch=1, context=50)] * 2
    assert decode_medians([*alike, prompt, *few]) == [
        prompt,
        StepSample(11.0, batch=2, context=100),
    ]
