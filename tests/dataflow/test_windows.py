"""window: the records of each key divided by time, late ones counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.timed import (
    Record,
    as_lists,
    key,
    time,
)

from sage.dataflow import (
    AggregateFunction,
    LateRecordError,
    LocalEnvironment,
    RuntimeContext,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    WindowResult,
)
from sage.dataflow.windows import Windows
from sage.errors import ConfigError, GraphError, OperatorError


@pytest.mark.parametrize("size", [0.1, 0.3, 1e-3, 7.7])
@pytest.mark.parametrize("windows", [TumblingWindows, lambda size: SlidingWindows(size, size / 3)])
def test_rounding_leaves_no_gap(windows: Callable[[float], Windows], size: float) -> None:
    """Every moment is inside the windows it is put in, at their edges too."""
    for number in range(-300, 300):
        for moment in (number * size, math.nextafter(number * size, -math.inf), number / 7):
            found = windows(size).assign(moment)
            assert found
            assert all(window.start <= moment < window.end for window in found)
    tumbling = TumblingWindows(size)
    edges = [tumbling.assign(number * size + size / 2)[0] for number in range(100)]
    assert all(edges[n].end == edges[n + 1].start for n in range(99))


def test_sessions_end_where_the_gap_is(env: LocalEnvironment) -> None:
    """Records less than the gap apart are one session; a record exactly a gap later begins one."""
    out: list[WindowResult] = []
    records = [("a", 0), ("a", 9), ("a", 19), ("b", 5), ("a", 28)]
    env.from_collection(records).keyby(key).window(
        SessionWindows(10), timestamp=time, out_of_orderness=100
    ).reduce(lambda left, right: (left[0], left[1] + right[1])).sink(out.append)
    env.submit(autostop=True)
    assert [(r.key, r.start, r.end, r.value[1]) for r in sorted(out)] == [
        ("a", 0, 19, 9),
        ("a", 19, 38, 47),
        ("b", 5, 15, 5),
    ]


class Mean(AggregateFunction):
    def __init__(self, digits: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.digits = digits
        self.events: list[str] = []

    def open(self, context: RuntimeContext) -> None:
        self.events.append("open")

    def create(self) -> tuple[int, float]:
        return 0, 0.0

    def add(self, accumulator: tuple[int, float], data: Record) -> tuple[int, float]:
        return accumulator[0] + 1, accumulator[1] + data[1]

    def result(self, accumulator: tuple[int, float]) -> float:
        return round(accumulator[1] / accumulator[0], self.digits)

    def close(self) -> None:
        self.events.append("close")


class MergingMean(Mean):
    def merge(self, accumulator: tuple[int, float], other: tuple[int, float]) -> tuple[int, float]:
        return accumulator[0] + other[0], accumulator[1] + other[1]


def test_aggregate(env: LocalEnvironment) -> None:
    """An accumulator, opened and closed like any operator."""
    mean = Mean()
    out: list[WindowResult] = []
    env.from_collection([("a", 1), ("a", 2), ("a", 12)]).keyby(key).window(
        TumblingWindows(10), timestamp=time
    ).aggregate(mean).sink(out.append)
    env.submit(autostop=True)
    assert out == [("a", 0, 10, 1.5, 0), ("a", 10, 20, 12.0, 0)]
    assert mean.events == ["open", "close"]


def test_aggregate_sessions_merge(env: LocalEnvironment) -> None:
    """A record between two sessions makes one of them, and of their accumulators."""
    out: list[WindowResult] = []
    env.from_collection([("a", 0), ("a", 6), ("a", 3)]).keyby(key).window(
        SessionWindows(4), timestamp=time, out_of_orderness=10
    ).aggregate(MergingMean, digits=1).sink(out.append)
    env.submit(autostop=True)
    assert out == [("a", 0, 10, 3.0, 0)]


def test_apply_sees_the_key_and_may_emit_nothing(env: LocalEnvironment) -> None:
    """The function gets the window's records; None emits nothing."""
    out: list[WindowResult] = []
    env.from_collection([("a", 1), ("b", 2), ("a", 3)]).keyby(key).window(
        TumblingWindows(10), timestamp=time
    ).apply(lambda records: len(records) if len(records) > 1 else None).sink(out.append)
    env.submit(autostop=True)
    assert out == [("a", 0, 10, 2, 0)]


def test_windows_emit_as_the_watermark_passes(env: LocalEnvironment) -> None:
    """A window does not wait for the end of the input."""
    emitted: list[WindowResult] = []
    seen: list[int] = []

    def source() -> Iterator[Record | None]:
        yield ("a", 1)
        yield ("a", 12)
        yield from iter(lambda: None if not emitted else 1, 1)
        seen.append(len(emitted))
        yield ("a", 13)

    env.from_source(source).keyby(key).window(TumblingWindows(10), timestamp=time).list().sink(
        emitted.append
    )
    env.submit(autostop=True)
    assert seen == [1]
    assert [result.value for result in emitted] == [[("a", 1)], [("a", 12), ("a", 13)]]


def test_allowed_lateness_revises(env: LocalEnvironment) -> None:
    """Until then a late record makes its window emit again; after that it is a dead letter."""
    out: list[WindowResult] = []
    records = [("a", 1), ("a", 12), ("a", 2), ("a", 16), ("a", 3)]
    env.from_collection(records).keyby(key).window(
        TumblingWindows(10), timestamp=time, allowed_lateness=5
    ).reduce(lambda left, right: (left[0], left[1] + right[1])).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [
        ("a", 0, 10, ("a", 1), 0),
        ("a", 0, 10, ("a", 3), 1),
        ("a", 10, 20, ("a", 28), 0),
    ]
    (letter,) = result.dead_letters
    assert letter.record == ("a", 3)
    assert letter.operator == "window"
    assert isinstance(letter.error, LateRecordError)
    assert "the record of time 3 came when the watermark was 16" in str(letter.error)
    assert result.operator("window").records_in == 5
    assert result.operator("window").dropped == 1


def test_late_records_may_be_dropped_and_are_counted(env: LocalEnvironment) -> None:
    """ "drop" leaves the count."""
    env.from_collection([("a", 1), ("a", 12), ("a", 2)]).keyby(key).window(
        TumblingWindows(10), timestamp=time, late="drop"
    ).list().sink(lambda _: None)
    result = env.submit(autostop=True)
    assert result.dead_letters == ()
    assert result.operator("window").metrics == {"late": 1}


def test_a_record_may_be_late_for_some_of_its_windows(env: LocalEnvironment) -> None:
    """It is in those still open, and what it missed is counted."""
    out: list[WindowResult] = []
    env.from_collection([("a", 3), ("a", 14), ("a", 8)]).keyby(key).window(
        SlidingWindows(10, 5), timestamp=time
    ).list().sink(out.append)
    result = env.submit(autostop=True)
    assert as_lists(out) == {
        ("a", -5, 5): [3],
        ("a", 0, 10): [3],
        ("a", 5, 15): [8, 14],
        ("a", 10, 20): [14],
    }
    assert result.operator("window").metrics == {"late_for_some": 1}
    assert result.dead_letters == ()


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (lambda _: "noon", "the timestamp 'noon' is no number"),
        (lambda _: math.nan, "the timestamp nan is not finite"),
        (lambda record: record["missing"], "TypeError"),
    ],
)
def test_wrong_timestamps(env: LocalEnvironment, timestamp: Any, message: str) -> None:
    """The error shows the user's record."""
    env.from_collection([("a", 1)]).keyby(key).window(
        TumblingWindows(10), timestamp=timestamp
    ).list().sink(lambda _: None)
    with pytest.raises(OperatorError, match=rf"record \('a', 1\).*{message}"):
        env.submit(autostop=True)


def test_what_cannot_be_a_key_shows_the_users_record(env: LocalEnvironment) -> None:
    """Without the time that goes with it."""
    env.from_collection([("a", 1)]).keyby(lambda _: object()).window(
        TumblingWindows(10), timestamp=time
    ).list(parallelism=2).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"record \('a', 1\).*object cannot be a key"):
        env.submit(autostop=True)


def test_an_aggregation_that_raises_names_the_record(env: LocalEnvironment) -> None:
    """As any operator's error does."""
    env.from_collection([("a", 1), ("a", 2)]).keyby(key).window(
        TumblingWindows(10), timestamp=time
    ).reduce(lambda left, right: 1 / 0).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'window' failed on record \('a', 2\)"):
        env.submit(autostop=True)


def test_a_record_that_fails_takes_no_result_with_it(env: LocalEnvironment) -> None:
    """The results that were due at that record are emitted all the same."""
    out: list[WindowResult] = []

    class Sum(MergingMean):
        def add(self, accumulator: tuple[int, float], data: Record) -> tuple[int, float]:
            if data[1] == 13:
                raise ValueError("unlucky")
            return super().add(accumulator, data)

    records = [("a", 1), ("a", 2), ("a", 13), ("a", 14)]
    env.from_collection(records).keyby(key).window(TumblingWindows(10), timestamp=time).aggregate(
        Sum, on_error="dead_letter"
    ).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [("a", 0, 10, 1.5, 0), ("a", 10, 20, 14.0, 0)]
    (letter,) = result.dead_letters
    assert letter.record == ("a", 13)
    assert result.failed == 1


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda keyed: keyed.window(10), ConfigError, "give TumblingWindows"),
        (lambda keyed: keyed.window(TumblingWindows(0)), ConfigError, "size is 0"),
        (lambda keyed: keyed.window(SlidingWindows(5, 6)), ConfigError, "slide is 6 and size 5"),
        (lambda keyed: keyed.window(SessionWindows(-1)), ConfigError, "gap is -1"),
        (
            lambda keyed: keyed.window(TumblingWindows(1), allowed_lateness=1),
            ConfigError,
            "allowed_lateness is for event time",
        ),
        (
            lambda keyed: keyed.window(TumblingWindows(1), out_of_orderness=1),
            ConfigError,
            "out_of_orderness is for event time",
        ),
        (
            lambda keyed: keyed.window(TumblingWindows(1), timestamp=3),
            ConfigError,
            "timestamp is 3",
        ),
        (
            lambda keyed: keyed.window(TumblingWindows(1), timestamp=time, late="lose"),
            ConfigError,
            "late is 'lose'",
        ),
        (
            lambda keyed: keyed.window(SessionWindows(1), timestamp=time).aggregate(Mean),
            GraphError,
            "Mean does not define merge",
        ),
        (
            lambda keyed: keyed.window(TumblingWindows(1)).aggregate(len),
            GraphError,
            "give an AggregateFunction",
        ),
        (
            lambda keyed: keyed.window(TumblingWindows(1)).late,
            GraphError,
            "late='stream'",
        ),
    ],
)
def test_what_cannot_be(build: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    """Wrong windows fail where they are written."""
    keyed = LocalEnvironment().from_collection([("a", 1)]).keyby(key)
    with pytest.raises(error, match=message):
        build(keyed)
