"""keyby: all records of a key go to one replica, in order, with state of their own."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from typing import Any

import pytest

from sage.dataflow import KeyByFunction, LocalEnvironment, MapFunction, RuntimeContext
from sage.errors import ConfigError, GraphError, OperatorError

WORDS = ["b", "a", "", "b", "c", "b", "a", ""] * 50


class Parity(KeyByFunction):
    def execute(self, data: int) -> int:
        return data % 2


class CountSoFar(MapFunction):
    """Emits (key, how often it came until now, by whom)."""

    def open(self, context: RuntimeContext) -> None:
        self.count = context.state.value("count", default=0)
        self.seen = context.state.list("seen")
        self.marks = context.state.map("marks")

    def execute(self, data: Any) -> tuple[Any, int, int]:
        assert self.context is not None
        self.count.set(self.count.get() + 1)
        self.seen.append(data)
        self.marks[data] = self.marks.get(data, 0) + 1
        assert len(self.seen.get()) == self.count.get() == sum(self.marks.values())
        return self.context.key, self.count.get(), self.context.index


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_state_by_key(env: LocalEnvironment, parallelism: int) -> None:
    """Counts are exact by key, falsy keys too, and each key lives in one replica."""
    out: list[tuple[str, int, int]] = []
    stream = env.from_collection(WORDS).map(lambda word: word, parallelism=3)
    stream.keyby(lambda word: word).map(CountSoFar, parallelism=parallelism).sink(out.append)
    env.submit(autostop=True)
    last = {key: count for key, count, _ in out}
    assert last == Counter(WORDS)
    owners = defaultdict(set)
    for key, _, index in out:
        owners[key].add(index)
    assert all(len(indices) == 1 for indices in owners.values())


def test_order_by_key(env: LocalEnvironment) -> None:
    """Records of one key keep their order across parallel replicas."""
    out: list[int] = []
    env.from_collection(range(20_000)).keyby(lambda x: x % 7).map(lambda x: x, parallelism=4).sink(
        out.append
    )
    env.submit(autostop=True)
    for key in range(7):
        mine = [record for record in out if record % 7 == key]
        assert mine == sorted(mine)
    assert len(out) == 20_000


def test_reduce_emits_each_update(env: LocalEnvironment) -> None:
    """By default what was combined is emitted after each record."""
    out: list[int] = []
    env.from_collection([1, 2, 3, 4]).keyby(Parity()).reduce(lambda a, b: a + b).sink(out.append)
    env.submit(autostop=True)
    assert out == [1, 2, 4, 6]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_reduce_at_the_end(env: LocalEnvironment, parallelism: int) -> None:
    """emit="end" emits once a key: a word count."""
    out: list[tuple[str, int]] = []
    (
        env.from_collection(WORDS)
        .map(lambda word: (word, 1))
        .keyby(lambda pair: pair[0])
        .reduce(lambda a, b: (a[0], a[1] + b[1]), emit="end", parallelism=parallelism)
        .sink(out.append)
    )
    env.submit(autostop=True)
    assert sorted(out) == sorted(Counter(WORDS).items())


def test_reduce_with_an_operator_class(env: LocalEnvironment) -> None:
    """A reduce function may be a class with arguments, opened and closed like any operator."""
    events: list[str] = []

    class Scaled:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def open(self) -> None:
            events.append("open")

        def execute(self, left: int, right: int) -> int:
            return left + self.factor * right

        def close(self) -> None:
            events.append("close")

    out: list[int] = []
    env.from_collection([1, 2, 3]).keyby(lambda _: None).reduce(Scaled, 10, emit="end").sink(
        out.append
    )
    env.submit(autostop=True)
    assert out == [51]
    assert events == ["open", "close"]


def test_key_function_that_raises(env: LocalEnvironment) -> None:
    """The keyby is named, with the record."""
    env.from_collection([{"id": 1}, {}]).keyby(lambda r: r["id"], name="by id").sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'by id' failed on record \{\}: KeyError"):
        env.submit(autostop=True)


def test_what_cannot_be_a_key(env: LocalEnvironment) -> None:
    """A key of a type without a stable hash is an error that names the operator and the type."""
    env.from_collection([[1]]).keyby(lambda r: object(), name="by").map(
        lambda r: r, parallelism=2
    ).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'by' failed on record \[1\].*object cannot be a key"):
        env.submit(autostop=True)


def test_state_without_a_key(env: LocalEnvironment) -> None:
    """Using keyed state without keyby says what to do."""
    env.from_collection([1]).map(CountSoFar()).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"put keyby\(\) before"):
        env.submit(autostop=True)


def test_emit_is_one_of_two() -> None:
    """Another value of emit is an error."""
    with pytest.raises(ConfigError, match="choose 'update' or 'end'"):
        LocalEnvironment().from_collection([1]).keyby(str).reduce(max, emit="never")  # type: ignore[arg-type]


def test_explain_names_the_channels_by_key() -> None:
    """The plan says where records go by key."""
    env = LocalEnvironment()
    env.from_collection([uuid.uuid4()]).keyby(str).map(str, parallelism=2).sink(print)
    assert "channels by key → stage 1" in env.explain()


def test_async_operators_are_refused() -> None:
    """Keyed state has one key at a time, so an operator with many records in flight has none."""

    async def fetch(record: int) -> int:
        return record

    with pytest.raises(GraphError, match=r"fetch is async.*before keyby"):
        LocalEnvironment().from_collection([1]).keyby(str).map(fetch)
