"""How much context an engine is given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.inference.engines.context import plan_context
from sage.inference.engines.shape import ModelShape

GIB = 1 << 30
SMOL = ModelShape(context=8192, token_bytes=23_040)
LLAMA_3_8B = ModelShape(context=131_072, token_bytes=131_072)


def test_a_request_may_use_all_the_model_was_trained_on() -> None:
    """The slots share a pool in which long requests use what short ones leave."""
    plan = plan_context(SMOL, slots=16, asked=None, free_bytes=16 * GIB)
    assert (plan.request, plan.pool, plan.reason) == (8192, 32_768, "")


def test_memory_bounds_what_was_not_asked_for() -> None:
    """A quarter of the free memory, and the reason is given."""
    plan = plan_context(LLAMA_3_8B, slots=16, asked=None, free_bytes=16 * GIB)
    assert (plan.request, plan.pool) == (32_768, 32_768)
    assert "131072 tokens would take 16384 MiB" in plan.reason
    assert "--max-model-len" in plan.reason


def test_a_length_that_was_asked_for_is_kept() -> None:
    """At whatever price in memory; only the training bounds it, and that is said."""
    plan = plan_context(LLAMA_3_8B, slots=16, asked=65_536, free_bytes=16 * GIB)
    assert (plan.request, plan.pool, plan.reason) == (65_536, 65_536, "")
    plan = plan_context(SMOL, slots=16, asked=10_000, free_bytes=16 * GIB)
    assert (plan.request, plan.reason) == (8192, "the model was trained on 8192 tokens")


def test_short_requests_need_no_large_pool() -> None:
    """Every slot holds a whole one."""
    assert plan_context(SMOL, slots=4, asked=512, free_bytes=16 * GIB).pool == 2048


def test_a_model_that_does_not_tell_its_shape_gets_a_plain_default() -> None:
    """Or what was asked for."""
    assert plan_context(None, slots=16, asked=None, free_bytes=GIB).request == 4096
    assert plan_context(None, slots=16, asked=512, free_bytes=GIB).request == 512


@given(
    trained=st.integers(1, 1 << 20),
    token_bytes=st.integers(1, 1 << 20),
    slots=st.integers(1, 64),
    asked=st.none() | st.integers(1, 1 << 20),
    free=st.integers(0, 1 << 40),
)
def test_bounds_hold_for_any_model(
    trained: int, token_bytes: int, slots: int, asked: int | None, free: int
) -> None:
    """One whole request fits the pool, no more than all slots could use, and it is affordable."""
    plan = plan_context(ModelShape(trained, token_bytes), slots, asked, free)
    assert 1 <= plan.request <= min(trained, asked or trained)
    assert plan.request <= plan.pool <= slots * plan.request or plan.pool == plan.request
    least = min(2048, trained) if asked is None else plan.request
    assert plan.pool * token_bytes <= free // 4 or plan.pool <= least
    shorter = plan.request < (asked or trained)
    assert bool(plan.reason) == shorter
