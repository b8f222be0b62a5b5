"""batch: records gathered into lists by number, tokens and time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment
from sage.dataflow.batching import Batcher
from sage.errors import ConfigError, OperatorError


def test_size(env: LocalEnvironment) -> None:
    """Full lists, and what is left at the end."""
    out: list[list[int]] = []
    env.from_collection(range(7)).batch(3).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [[0, 1, 2], [3, 4, 5], [6]]
    assert result.operator("batch").records_in == 7


def test_timeout_needs_no_next_record() -> None:
    """A list that is not full is emitted by a timer while the source is silent."""
    arrived = threading.Event()

    def silent_after_two() -> Iterator[int]:
        yield 1
        yield 2
        assert arrived.wait(20), "the timer did not fire"

    env = LocalEnvironment()
    out: list[list[int]] = []

    def sink(batch: list[int]) -> None:
        out.append(batch)
        arrived.set()

    env.from_source(silent_after_two).batch(100, timeout=0.05).map(lambda x: x).sink(sink)
    env.submit(autostop=True)
    assert [record for batch in out for record in batch] == [1, 2]


def test_timeout_inline() -> None:
    """The same in the caller's thread, with a source that says it has nothing now."""
    out: list[list[int]] = []

    def source() -> Iterator[int | None]:
        yield 1
        while not out:
            yield None
        yield 2

    env = LocalEnvironment(config={"workers": "inline"})
    env.from_source(source).batch(100, timeout=0.01).sink(out.append)
    env.submit(autostop=True)
    assert out == [[1], [2]]


def test_max_tokens(env: LocalEnvironment) -> None:
    """A list ends before its tokens are too many; a record with too many is alone."""
    out: list[list[str]] = []
    env.from_collection(["a", "bb", "ccccc", "d", "e", "f"]).batch(
        10, max_tokens=3, tokens=len
    ).sink(out.append)
    env.submit(autostop=True)
    assert out == [["a", "bb"], ["ccccc"], ["d", "e", "f"]]


def test_tokens_of_what_is_no_text(env: LocalEnvironment) -> None:
    """Counting tokens of other records needs a function, and the error says so."""
    env.from_collection([{"text": "a"}]).batch(10, max_tokens=3).sink(lambda _: None)
    with pytest.raises(OperatorError, match="a function: tokens="):
        env.submit(autostop=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 1, "timeout": 0}, "timeout is 0"),
        ({"size": 1, "max_tokens": -1}, "max_tokens is -1"),
    ],
)
def test_wrong_limits(arguments: dict[str, Any], message: str) -> None:
    """Wrong limits fail where they are written."""
    with pytest.raises(ConfigError, match=message):
        LocalEnvironment().from_collection([1]).batch(**arguments)


@given(
    st.lists(st.text(max_size=9)),
    st.integers(1, 5),
    st.none() | st.integers(1, 12),
)
@settings(deadline=None)
def test_nothing_lost_nothing_too_large(
    records: list[str], size: int, max_tokens: int | None
) -> None:
    """All records come out in order, in lists within both limits."""
    batcher = Batcher(size, max_tokens=max_tokens, tokens=len)
    batches = [batch for record in records for batch in batcher.execute(record) or ()]
    batches += batcher.flush()
    assert [record for batch in batches for record in batch] == records
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or max_tokens is None or sum(map(len, batch)) <= max_tokens


def test_timer_follows_the_first_record() -> None:
    """The timer is set by the first record of a list and is off while nothing is held."""
    now = 100.0
    batcher = Batcher(10, timeout=2.0, clock=lambda: now)
    assert batcher.due is None
    batcher.execute("a")
    now = 101.0
    batcher.execute("b")
    assert batcher.due == 102.0
    assert batcher.wake() == [["a", "b"]]
    assert batcher.due is None
