"""Which graphs can go on from a checkpoint."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment, MapFunction, TumblingWindows
from sage.dataflow.checkpoint.signature import (
    OperatorSignature,
    check_same_graph,
    differences,
    sign,
)
from sage.errors import CheckpointError, GraphChangedError


class Double(MapFunction):
    def execute(self, data: Any) -> Any:
        return data * 2


class Halve(MapFunction):
    def execute(self, data: Any) -> Any:
        return data / 2


def signed(env: LocalEnvironment) -> tuple[OperatorSignature, ...]:
    return sign(env._graph.nodes)


def pipeline(operator: Any = Double, **options: Any) -> tuple[OperatorSignature, ...]:
    env = LocalEnvironment("test")
    env.from_collection([1], name="numbers").map(operator, name="change", **options).sink(
        print, name="out"
    )
    return signed(env)


def test_a_signature() -> None:
    """Operators by name with what they run and read; nothing of modules and addresses."""
    env = LocalEnvironment("test")
    numbers = env.from_collection([1], name="numbers")
    numbers.map(Double()).keyby(lambda number: number, name="key").reduce(max, name="most").sink(
        lambda record: None
    )
    assert signed(env) == (
        OperatorSignature("numbers", "source", "", (), keyed=False),
        OperatorSignature("Double", "map", "Double", ("numbers",), keyed=False),
        OperatorSignature("key", "keyby", "", ("Double",), keyed=False),
        OperatorSignature("most", "flatmap", "max", ("key",), keyed=True),
        OperatorSignature("sink", "sink", "", ("most",), keyed=False),
    )


def test_what_makes_no_difference() -> None:
    """Parallelism, options, an instance for its class, and how plain records are given."""
    before = pipeline()
    assert pipeline(parallelism=3, on_error="skip", retry=2) == before
    assert pipeline(Double()) == before
    env = LocalEnvironment("test", config={"workers": "inline", "parallelism": 2})
    env.from_collection(range(3), name="numbers").map(Double, name="change").sink(print, name="out")
    assert signed(env) == before


def test_the_order_of_a_union_makes_no_difference() -> None:
    """Its records come as they come."""

    def union(first: str, second: str) -> tuple[OperatorSignature, ...]:
        env = LocalEnvironment("test")
        streams = {name: env.from_collection([1], name=name) for name in ("a", "b")}
        streams[first].union(streams[second]).sink(print, name="out")
        return signed(env)

    assert differences(union("a", "b"), union("b", "a")) == []


def test_swapped_sides_of_a_connect_are_a_difference() -> None:
    """The first stream's state is not the second's."""

    def connect(first: str, second: str) -> tuple[OperatorSignature, ...]:
        env = LocalEnvironment("test")
        streams = {name: env.from_collection([1], name=name) for name in ("a", "b")}
        streams[first].connect(streams[second]).keyby(int, int).join(max).sink(print)
        return signed(env)

    assert differences(connect("a", "b"), connect("b", "a")) == [
        "operator 'first' reads 'b' instead of 'a'",
        "operator 'second' reads 'a' instead of 'b'",
    ]


def test_another_function() -> None:
    """Both are named."""
    before = pipeline()
    assert differences(before, pipeline(Halve)) == [
        "operator 'change' runs Halve instead of Double"
    ]
    assert differences(before, pipeline(lambda number: number)) == [
        "operator 'change' runs a lambda instead of Double"
    ]


def test_missing_new_and_moved() -> None:
    """Every difference has a sentence."""
    env = LocalEnvironment("test")
    numbers = env.from_collection([1], name="numbers")
    more = numbers.filter(bool, name="change").union(env.from_collection([2], name="more"))
    more.sink(print, name="print")
    assert differences(pipeline(), signed(env)) == [
        "operator 'out' is missing",
        "operator 'more' is new",
        "operator 'print' is new",
        "operator 'change' was a map and is a filter",
        "operator 'change' runs bool instead of Double",
    ]
    env = LocalEnvironment("test")
    numbers = env.from_collection([1], name="numbers")
    numbers.map(Double, name="change").sink(print, name="other")
    numbers.sink(print, name="out")
    assert differences(pipeline(), signed(env)) == [
        "operator 'other' is new",
        "operator 'out' reads 'numbers' instead of 'change'",
    ]


def test_keyed() -> None:
    """State by key is not state of a whole stream."""
    plain = OperatorSignature("sum", "map", "Sum", ("key",), keyed=False)
    keyed = OperatorSignature("sum", "map", "Sum", ("key",), keyed=True)
    assert differences([plain], [keyed]) == ["operator 'sum' is behind a keyby and was not before"]
    assert differences([keyed], [plain]) == ["operator 'sum' is not behind a keyby and was before"]


def test_windows_are_signed() -> None:
    """Operators of our own have names and signatures like any other."""
    env = LocalEnvironment("test")
    env.from_collection([1]).keyby(str).window(TumblingWindows(1)).apply(len).sink(print)
    assert [operator.what for operator in signed(env) if operator.name == "window"] == ["len"]


def test_the_error() -> None:
    """It has all differences, in its message and as a list, and survives a pickle."""
    check_same_graph(3, pipeline(), pipeline())
    with pytest.raises(GraphChangedError) as raised:
        check_same_graph(3, pipeline(), pipeline(Halve))
    error = raised.value
    assert isinstance(error, CheckpointError)
    assert str(error) == (
        "checkpoint 3 is of another graph: operator 'change' runs Halve instead of Double; resume "
        "the pipeline as it was, or run without resume to begin anew"
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.number, again.differences) == (str(error), 3, error.differences)


signatures = st.builds(
    OperatorSignature,
    name=st.sampled_from("abc"),
    kind=st.sampled_from(["map", "sink"]),
    what=st.sampled_from(["", "A", "B"]),
    inputs=st.lists(st.sampled_from("xyz"), unique=True).map(sorted).map(tuple),
    keyed=st.booleans(),
)
graphs = st.lists(signatures, unique_by=lambda operator: operator.name).map(tuple)


@given(graphs, graphs)
def test_no_difference_only_when_equal(
    saved: tuple[OperatorSignature, ...], current: tuple[OperatorSignature, ...]
) -> None:
    """Differences are found both ways, and none only between the same operators in any order."""
    found = differences(saved, current)
    assert bool(found) == (set(saved) != set(current))
    assert len(differences(current, saved)) == len(found)
