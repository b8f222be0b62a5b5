"""How long the steps of a batching engine take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sage.benchmark.simulate.engine_request import EngineRequest
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_times import StepClock
from sage.errors import ConfigError
from tests.benchmark.simulate.support import PROFILE, TIMES, engine

CURVED = replace(TIMES, decode=((1, 10.0), (4, 16.0), (8, 40.0)), b1=5.0)


@pytest.mark.parametrize(
    ("batch", "ms"), [(1, 10.0), (2, 12.0), (4, 16.0), (6, 28.0), (8, 40.0), (10, 50.0)]
)
def test_a_table_of_decode_times_is_linear_between_its_pairs(batch: int, ms: float) -> None:
    """And goes on by b1 after the last one."""
    assert CURVED.decode_ms(batch) == pytest.approx(ms)
    clock = StepClock(CURVED, 16)
    assert clock.decode(batch, 1000) == pytest.approx((ms + 1000 * TIMES.b2) / 1000)


def test_prompts_and_the_batch_beside_them_have_costs_of_their_own() -> None:
    """r0 for each prompt begun, d1 for each request that decodes; least bounds the whole."""
    times = replace(TIMES, r0=3.0, d1=0.5, floor=0.0)
    usual = StepClock(replace(TIMES, floor=0.0), 16).prefill(600, 0.0, 2, 4, 0)
    assert StepClock(times, 16).prefill(600, 0.0, 2, 4, 0) == pytest.approx(
        usual + (2 * 3.0 + 4 * (0.5 - TIMES.b1)) / 1000
    )
    assert StepClock(replace(times, least=50.0), 16).prefill(600, 0.0, 2, 4, 0) == 0.05


def test_an_engine_pays_for_a_prompt_once() -> None:
    """In the step that begins it, however many steps it is cut into."""
    ends = []
    for r0 in (0.0, 7.0):
        one = engine(replace_times(r0=r0), max_num_batched_tokens=1000)
        one.submit(EngineRequest(1, 2500, 1), 0.0)
        while (emission := one.step()) is None:
            pass
        ends.append(emission.at)
    assert ends[1] - ends[0] == pytest.approx(0.007)


def replace_times(**values: float) -> LlmProfile:
    """Return the tests' profile with some of its times changed."""
    return replace(PROFILE, times=replace(TIMES, floor=0.0, **values))


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        (((4, 1.0), (4, 2.0)), "4 follows 4"),
        (((0, 1.0),), "above 0"),
        (((1, float("nan")),), "above 0"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(decode: Any, said: str) -> None:
    """With what is wrong of it."""
    with pytest.raises(ConfigError, match=said):
        replace(TIMES, decode=decode)
