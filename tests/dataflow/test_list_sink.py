"""sink([]): the records in a list."""

from __future__ import annotations

from typing import Any

import pytest

from sage.dataflow import LocalEnvironment
from sage.dataflow.context import RuntimeContext
from sage.dataflow.sinks.gathered import ListSink
from sage.errors import GraphError, UnknownKeyError


def test_records_are_appended(env: LocalEnvironment) -> None:
    """In their order, behind what the list holds."""
    out: list[Any] = ["first"]
    env.from_collection([1, None, "two", 3]).sink(out)
    result = env.submit(autostop=True)
    assert out == ["first", 1, None, "two", 3]
    assert result.operator("list").records_out == 4


def test_replicas_share_it(env: LocalEnvironment) -> None:
    """It is the user's own list, not a copy of each replica's."""
    out: list[int] = []
    env.from_collection(range(5000)).map(abs, parallelism=3).sink(out, parallelism=3)
    env.submit(autostop=True)
    assert sorted(out) == list(range(5000))


def test_behind_keyby(env: LocalEnvironment) -> None:
    """The record is appended, not its key."""
    out: list[str] = []
    env.from_collection(["a"]).keyby(str.upper).sink(out)
    env.submit(autostop=True)
    assert out == ["a"]


def test_a_list_of_another_process() -> None:
    """Would stay empty here, so it is an error, also by the list's own method."""
    out: list[int] = []
    for sink in (out, out.append):
        with pytest.raises(GraphError, match="from another process"):
            LocalEnvironment().from_collection([1]).sink(sink, workers="process")
    with pytest.raises(UnknownKeyError, match="'schema'"):
        LocalEnvironment().from_collection([1]).sink([], schema=None)


def test_going_on_from_a_snapshot() -> None:
    """What came after it is taken back, so that each record is there once."""
    out = [0]
    sink = ListSink(out)
    sink.open(RuntimeContext("out"))
    sink.execute(1)
    state = sink.snapshot()
    sink.execute(2)
    sink.restore(state)
    assert out == [0, 1]


def test_several_replicas_take_nothing_back() -> None:
    """Whose record is whose is not known, so some may be there twice, and none is lost."""
    out: list[int] = []
    sinks = [ListSink(out), ListSink(out)]
    for index, sink in enumerate(sinks):
        sink.open(RuntimeContext("out", index, 2))
    states = [sink.snapshot() for sink in sinks]
    sinks[0].execute(1)
    for sink, state in zip(sinks, states, strict=True):
        sink.restore(state)
    assert out == [1]
    alone = ListSink(out)
    alone.open(RuntimeContext("out"))
    alone.restore(ListSink.redistribute(states, 1)[0])
    assert out == [1]
