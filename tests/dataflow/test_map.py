"""map: one record in, one out."""

from __future__ import annotations

from typing import Any

from sage.dataflow import LocalEnvironment, MapFunction


class Scale(MapFunction):
    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def execute(self, data: int) -> int:
        return data * self.factor


class Pairs(MapFunction):
    """Buffers two records; the odd one out is emitted at the end."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held: list[Any] = []

    def execute(self, data: Any) -> list[Any] | None:
        self.held.append(data)
        if len(self.held) < 2:
            return None
        pair, self.held = self.held, []
        return pair

    def flush(self) -> list[Any] | None:
        return self.held or None


def test_callable(env: LocalEnvironment) -> None:
    """A plain function maps each record, in order."""
    out: list[int] = []
    env.from_collection([1, 2, 3]).map(lambda x: x * 10).sink(out.append)
    env.submit(autostop=True)
    assert out == [10, 20, 30]


def test_instance(env: LocalEnvironment) -> None:
    """An operator object maps each record."""
    out: list[int] = []
    env.from_collection([1, 2]).map(Scale(5)).sink(out.append)
    env.submit(autostop=True)
    assert out == [5, 10]


def test_class_with_arguments(env: LocalEnvironment) -> None:
    """A class is constructed with the other arguments."""
    out: list[int] = []
    env.from_collection([1, 2]).map(Scale, factor=7).map(Scale, 10).sink(out.append)
    env.submit(autostop=True)
    assert out == [70, 140]


def test_none_emits_nothing(env: LocalEnvironment) -> None:
    """A record mapped to None is dropped, and counted as dropped; falsy records are not."""
    out: list[Any] = []
    env.from_collection([0, 1, 2]).map(lambda x: None if x == 1 else x, name="odd").sink(out.append)
    result = env.submit(autostop=True)
    assert out == [0, 2]
    assert result.operator("odd").dropped == 1


def test_flush_emits_what_is_held(env: LocalEnvironment) -> None:
    """At the end of the input flush() is called; a list it returns is one record."""
    out: list[Any] = []
    env.from_collection([1, 2, 3]).map(Pairs()).map(tuple).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [(1, 2), (3,)]
    assert result.operator("Pairs").records_out == 2


def test_duck_typed_operator(env: LocalEnvironment) -> None:
    """Any object with execute() is an operator."""

    class Plain:
        def execute(self, data: int) -> int:
            return -data

    out: list[int] = []
    env.from_collection([1]).map(Plain()).sink(out.append)
    env.submit(autostop=True)
    assert out == [-1]
