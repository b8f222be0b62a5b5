"""flatmap: one record in, any number out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.dataflow import FlatMapFunction, LocalEnvironment


class Window(FlatMapFunction):
    """Holds everything back until the end."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def execute(self, data: Any) -> None:
        self.held.append(data)

    def flush(self) -> Iterator[Any]:
        yield from reversed(self.held)


def test_list_or_generator(env: LocalEnvironment) -> None:
    """The records come from whatever iterable the function returns."""
    out: list[int] = []
    env.from_collection([1, 2, 3]).flatmap(range).flatmap(lambda x: (x for _ in range(2))).sink(
        out.append
    )
    result = env.submit(autostop=True)
    assert out == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2]
    assert result.operator("range").records_out == 6


def test_none_emits_nothing(env: LocalEnvironment) -> None:
    """None stands for no records."""
    out: list[int] = []
    env.from_collection([1, 2]).flatmap(lambda x: None if x == 1 else [x]).sink(out.append)
    env.submit(autostop=True)
    assert out == [2]


def test_flush(env: LocalEnvironment) -> None:
    """flush() returns an iterable of the last records."""
    out: list[int] = []
    env.from_collection([1, 2, 3]).flatmap(Window).map(lambda x: x + 1).sink(out.append)
    env.submit(autostop=True)
    assert out == [4, 3, 2]
