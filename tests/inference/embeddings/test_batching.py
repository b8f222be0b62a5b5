"""The planner: which texts run together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError
from sage.inference.embeddings.batching import BatchLimits, plan_batches, window_around

LENGTHS = st.lists(st.integers(0, 600), max_size=120)
LIMITS = st.builds(
    BatchLimits,
    max_tokens=st.integers(1, 1024),
    max_texts=st.integers(1, 64),
    call_overhead_tokens=st.integers(0, 64),
)


@given(LENGTHS, LIMITS, st.integers(1, 8))
def test_every_text_is_in_exactly_one_batch(
    lengths: list[int], limits: BatchLimits, workers: int
) -> None:
    """A plan holds each index once, whatever the lengths."""
    batches = plan_batches(lengths, limits, workers=workers)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, LIMITS, st.integers(1, 8))
def test_no_batch_is_over_the_limits_unless_one_text_is(
    lengths: list[int], limits: BatchLimits, workers: int
) -> None:
    """Padded tokens and texts stay within the limits; only a lone text may exceed the tokens."""
    for batch in plan_batches(lengths, limits, workers=workers):
        assert len(batch) <= limits.max_texts
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= limits.max_tokens or len(batch) == 1


@given(LENGTHS, LIMITS)
def test_a_plan_costs_no_more_than_running_texts_one_by_one(
    lengths: list[int], limits: BatchLimits
) -> None:
    """Batching never makes the work dearer: padding stays below what it saves in calls."""
    batches = plan_batches(lengths, limits)
    cost = sum(
        limits.call_overhead_tokens + len(batch) * max(lengths[index] for index in batch)
        for batch in batches
    )
    assert cost <= sum(lengths) + limits.call_overhead_tokens * len(lengths)


def test_longest_texts_run_first() -> None:
    """The longest batches start first, so that workers end together."""
    assert plan_batches([3, 200, 100], BatchLimits()) == [[1], [2], [0]]


def test_little_work_is_spread_over_the_workers() -> None:
    """Eight equal texts for two workers make two batches of four."""
    assert [len(batch) for batch in plan_batches([50] * 8, BatchLimits(), workers=2)] == [4, 4]


def test_one_worker_gets_all_of_it_in_one_call() -> None:
    """There is nobody to share with."""
    assert plan_batches([10, 11], BatchLimits()) == [[0, 1]]


@given(LENGTHS.filter(bool).map(sorted), LIMITS, st.data())
def test_a_window_holds_its_seed_and_the_limits(
    lengths: list[int], limits: BatchLimits, data: st.DataObject
) -> None:
    """The window contains the text whose turn it is and obeys the limits."""
    seed = data.draw(st.integers(0, len(lengths) - 1))
    window = window_around(lengths, seed, limits)
    assert seed in window
    assert 0 <= window.start < window.stop <= len(lengths)
    assert len(window) <= limits.max_texts
    assert len(window) * lengths[window.stop - 1] <= limits.max_tokens or len(window) == 1


def test_a_window_takes_texts_of_like_length_only() -> None:
    """A short text is not padded to the length of a long neighbour."""
    assert window_around([10, 10, 11, 250], 0, BatchLimits()) == range(3)
    assert window_around([10, 10, 11, 250], 3, BatchLimits()) == range(3, 4)


@pytest.mark.parametrize("field", ["max_tokens", "max_texts"])
def test_limits_below_one_are_refused(field: str) -> None:
    """A limit that no batch could keep is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=field):
        BatchLimits(**{field: 0})
