"""connect, comap and join: one operator reads two streams."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import (
    CoMapFunction,
    JoinFunction,
    LocalEnvironment,
    RuntimeContext,
    SlidingWindows,
    TumblingWindows,
)
from sage.errors import ConfigError, GraphError, OperatorError


class Label(CoMapFunction):
    def __init__(self, mark: str = "!", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mark = mark
        self.events: list[str] = []

    def open(self, context: RuntimeContext) -> None:
        self.events.append("open")

    def map1(self, data: int) -> str:
        return f"number {data}{self.mark}"

    def map2(self, data: str) -> str | None:
        return None if data == "" else f"text {data.upper()}"

    def flush(self) -> str:
        return "end"

    def close(self) -> None:
        self.events.append("close")


def test_comap(env: LocalEnvironment) -> None:
    """Each stream has its own method; None emits nothing; open, flush and close are called."""
    label = Label()
    out: list[str] = []
    numbers, texts = env.from_collection([1, 2]), env.from_collection(["a", "", "b"])
    numbers.connect(texts).comap(label).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == ["end", "number 1!", "number 2!", "text A", "text B"]
    assert label.events == ["open", "close"]


def test_comap_class_with_arguments(env: LocalEnvironment) -> None:
    """A class is constructed with its arguments, once a replica."""
    out: list[str] = []
    connected = env.from_collection([1]).connect(env.from_collection(["a"]))
    connected.comap(Label, mark="?", parallelism=2).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == ["end", "end", "number 1?", "text A"]


def test_comap_error_shows_the_users_record(env: LocalEnvironment) -> None:
    """The error has the record as it was in its stream."""
    env.from_collection([1]).connect(env.from_collection([5])).comap(Label()).sink(lambda _: None)
    with pytest.raises(OperatorError, match="'Label' failed on record 5: AttributeError"):
        env.submit(autostop=True)


def test_comap_needs_a_comap_function() -> None:
    """A plain function has no two methods."""
    env = LocalEnvironment()
    with pytest.raises(GraphError, match="give a CoMapFunction"):
        env.from_collection([1]).connect(env.from_collection([2])).comap(str)


class Orders(JoinFunction):
    def execute(self, left: dict[str, Any], right: dict[str, Any]) -> str | None:
        return None if right["n"] == 0 else f"{left['name']}: {right['n']}"


@pytest.mark.parametrize("parallelism", [1, 3])
def test_join(env: LocalEnvironment, parallelism: int) -> None:
    """Each pair of records with the same key is joined; None emits nothing."""
    users = env.from_collection([{"id": 0, "name": "Ann"}, {"id": 1, "name": "Bo"}])
    orders = env.from_collection(
        [{"user": 0, "n": 3}, {"user": 1, "n": 0}, {"user": 0, "n": 5}, {"user": 9, "n": 1}]
    )
    out: list[str] = []
    keyed = users.connect(orders).keyby(lambda user: user["id"], lambda order: order["user"])
    keyed.join(Orders(), parallelism=parallelism).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == ["Ann: 3", "Ann: 5"]


def test_join_key_error_shows_the_users_record(env: LocalEnvironment) -> None:
    """A key function that raises is named with the record of its stream."""
    connected = env.from_collection([{}]).connect(env.from_collection([{}]))
    connected.keyby(lambda r: r["id"], lambda r: 1).join(lambda a, b: a).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'keyby' failed on record \{\}: KeyError"):
        env.submit(autostop=True)


RECORDS = st.lists(st.tuples(st.integers(0, 4), st.integers()), max_size=20)


@given(left=RECORDS, right=RECORDS, parallelism=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_join_equals_plain_python(left: list[Any], right: list[Any], parallelism: int) -> None:
    """The join is that of two nested loops, whatever comes first."""
    env = LocalEnvironment(config={"batch_size": 3})
    out: list[Any] = []
    connected = env.from_collection(left).connect(env.from_source(iter(right)))
    connected.keyby(lambda r: r[0], lambda r: r[0]).join(
        lambda a, b: (a, b), parallelism=parallelism
    ).sink(out.append)
    env.submit(autostop=True)
    assert Counter(out) == Counter((a, b) for a in left for b in right if a[0] == b[0])


TIMED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=20)


def by_number(record: tuple[int, int]) -> int:
    return record[0]


def moment(record: tuple[int, int]) -> int:
    return record[1]


def pair(left: Any, right: Any) -> Any:
    return left, right


@given(left=TIMED, right=TIMED, parallelism=st.integers(1, 3), upstream=st.booleans())
@settings(max_examples=60, deadline=None)
def test_windowed_join_equals_plain_python(
    left: list[Any], right: list[Any], parallelism: int, upstream: bool
) -> None:
    """Records of both streams that share key and window are paired, whichever is ahead."""
    env = LocalEnvironment(config={"batch_size": 3})
    first, second = env.from_collection(left), env.from_source(iter(right))
    if upstream:
        first, second = first.event_time(moment, 50), second.event_time(moment, 50)
    out: list[Any] = []
    first.connect(second).keyby(by_number, by_number).window(
        SlidingWindows(10, 5), timestamp=moment, out_of_orderness=None if upstream else 50
    ).join(pair, parallelism=parallelism).sink(out.append)
    env.submit(autostop=True)
    expected = [
        (a[0], start, start + 10, (a, b), 0)
        for a in left
        for b in right
        for start in range(-10, 45, 5)
        if a[0] == b[0] and start <= a[1] < start + 10 and start <= b[1] < start + 10
    ]
    assert Counter(out) == Counter(expected)


def test_windowed_join_with_a_time_for_each_stream(env: LocalEnvironment) -> None:
    """Streams of different records; a late record is shown without its mark."""
    users = env.from_collection([{"id": 0, "at": 1, "name": "Ann"}])
    orders = env.from_collection([("0", 3), ("0", 12), ("0", 25), ("0", 4)])
    out: list[Any] = []
    windowed = (
        users.connect(orders)
        .keyby(lambda user: user["id"], lambda order: int(order[0]))
        .window(
            TumblingWindows(10),
            timestamp=(lambda user: user["at"], lambda order: order[1]),
            late="stream",
        )
    )
    windowed.join(lambda user, order: (user["name"], order[1])).sink(out.append)
    late: list[Any] = []
    windowed.late.sink(late.append)
    env.submit(autostop=True)
    assert [record for record in out if record.value[1] == 3] == [(0, 0, 10, ("Ann", 3), 0)]
    assert ("0", 4) in late or (0, 0, 10, ("Ann", 4), 0) in out


def test_windowed_join_in_processes() -> None:
    """Both streams' watermarks meet in worker processes."""
    env = LocalEnvironment(config={"workers": "process"})
    records = [(index % 3, index) for index in range(60)]
    out: list[Any] = []
    env.from_collection(records).connect(env.from_collection(records)).keyby(
        by_number, by_number
    ).window(TumblingWindows(6), timestamp=moment).join(pair, parallelism=2).sink(out.append)
    result = env.submit(autostop=True)
    assert len(out) == 10 * 3 * 4
    assert result.dead_letters == ()


def test_windowed_join_error_shows_the_users_record(env: LocalEnvironment) -> None:
    """A timestamp function that raises is shown the record of its stream."""
    connected = env.from_collection([7]).connect(env.from_collection([{}]))
    connected.keyby(lambda _: 1, lambda _: 1).window(
        TumblingWindows(1), timestamp=lambda record: record + 0
    ).join(pair).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"failed on record \{\}: TypeError"):
        env.submit(autostop=True)


def test_windowed_join_needs_functions() -> None:
    """A timestamp that cannot be called is an error."""
    env = LocalEnvironment()
    keyed = env.from_collection([1]).connect(env.from_collection([2])).keyby(str, str)
    with pytest.raises(ConfigError, match="timestamp is 'at'"):
        keyed.window(TumblingWindows(1), timestamp=("at", "at"))  # type: ignore[arg-type]
