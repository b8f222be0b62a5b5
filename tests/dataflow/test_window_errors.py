"""A window or a timer that fails is blamed itself; the record at hand goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sage.dataflow import (
    AggregateFunction,
    JobResult,
    LocalEnvironment,
    RetryPolicy,
    RuntimeContext,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    WindowResult,
)
from sage.errors import OperatorError

RECORDS = [1, 2, 11, 12, 21, 35]


def no_eleven(records: list[int]) -> list[int]:
    if 11 in records:
        raise ValueError("eleven")
    return records


class NoEleven(AggregateFunction):
    """The same, of an accumulator."""

    def create(self) -> list[int]:
        return []

    def add(self, accumulator: list[int], data: int) -> list[int]:
        return [*accumulator, data]

    def result(self, accumulator: list[int]) -> list[int]:
        return no_eleven(accumulator)


def key_of(record: int) -> str:
    return "k"


def identity(record: int) -> int:
    return record


def windowed(env: LocalEnvironment, how: str, out: list[Any], **options: Any) -> None:
    windows = (
        env.from_collection(RECORDS).keyby(key_of).window(TumblingWindows(10), timestamp=identity)
    )
    stream = (
        windows.aggregate(NoEleven, **options)
        if how == "aggregate"
        else windows.apply(no_eleven, **options)
    )
    stream.sink(out.append)


@pytest.fixture(params=["inline", "thread", "process"])
def anywhere(request: pytest.FixtureRequest) -> LocalEnvironment:
    return LocalEnvironment(config={"workers": request.param})


@pytest.mark.parametrize("how", ["apply", "aggregate"])
@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_the_window_is_given_up(anywhere: LocalEnvironment, how: str, on_error: str) -> None:
    """Alone: the record that ended it is in its own window, once, and the count is of one."""
    out: list[WindowResult] = []
    windowed(anywhere, how, out, on_error=on_error)
    result = anywhere.submit(autostop=True)
    assert [(each.start, each.value) for each in out] == [(0, [1, 2]), (20, [21]), (30, [35])]
    report = result.operator("window")
    assert (report.records_in, report.records_out, report.failed) == (6, 3, 1)
    letters = result.dead_letters
    if on_error == "dead_letter":
        (letter,) = letters
        assert letter.record == WindowResult("k", 10, 20, [11, 12], 0)
        assert (letter.operator, letter.attempts, str(letter.error)) == ("window", 1, "eleven")
    else:
        assert letters == ()


def test_the_last_window(env: LocalEnvironment) -> None:
    """One that the end of the input ends is given up likewise, and the job ends well."""
    out: list[Any] = []
    (
        env.from_collection([1, 11])
        .keyby(key_of)
        .window(TumblingWindows(10), timestamp=identity)
        .apply(no_eleven, on_error="dead_letter")
        .sink(out.append)
    )
    (letter,) = env.submit(autostop=True).dead_letters
    assert letter.record == ("k", 10, 20, [11], 0)
    assert out == [("k", 0, 10, [1], 0)]


def test_an_error_that_ends_the_job(anywhere: LocalEnvironment) -> None:
    """It names the window, and its cause is what the function raised."""
    windowed(anywhere, "apply", [])
    with pytest.raises(OperatorError, match=r"'window' failed on record WindowResult") as raised:
        anywhere.submit(autostop=True)
    assert raised.value.record == WindowResult("k", 10, 20, [11, 12], 0)
    assert isinstance(raised.value.__cause__, ValueError)


def test_the_window_is_tried_again(env: LocalEnvironment) -> None:
    """retry is for the window: the records in it are not put there twice."""
    tries: Counter[int] = Counter()

    def third_time(records: list[int]) -> list[int]:
        tries[records[0]] += 1
        if tries[records[0]] < 3:
            raise ConnectionError
        return records

    out: list[WindowResult] = []
    (
        env.from_collection(RECORDS)
        .keyby(key_of)
        .window(TumblingWindows(10), timestamp=identity)
        .apply(third_time, retry=RetryPolicy(attempts=3, first_delay=0.001))
        .sink(out.append)
    )
    result = env.submit(autostop=True)
    assert [each.value for each in out] == [[1, 2], [11, 12], [21], [35]]
    assert (result.operator("window").retried, result.failed) == (8, 0)


def test_a_window_that_emits_again(env: LocalEnvironment) -> None:
    """After a late record that is allowed, a window that failed may yet succeed, as its first."""
    out: list[Any] = []
    (
        env.from_collection([11, 25, 12])
        .keyby(key_of)
        .window(TumblingWindows(10), timestamp=identity, allowed_lateness=100)
        .apply(lambda records: len(records) if len(records) > 1 else 1 // 0, on_error="skip")
        .sink(out.append)
    )
    result: JobResult = env.submit(autostop=True)
    assert out == [("k", 10, 20, 2, 0)]
    assert result.failed == 2


@pytest.mark.parametrize("windows", [SlidingWindows(10, 5), SessionWindows(5)])
def test_a_record_that_fails(env: LocalEnvironment, windows: Any) -> None:
    """A record on which the aggregation itself raises is in none of its windows, also when it is
    tried again."""
    tries: Counter[int] = Counter()

    def add(total: int, record: int) -> int:
        # Of a sliding window's two, the second one fails, at first.
        tries[record] += 1
        if record == 3 and tries[record] == (2 if windows == SlidingWindows(10, 5) else 1):
            raise ConnectionError
        return total + record

    out: list[Any] = []
    (
        env.from_collection([1, 2, 3, 4])
        .keyby(key_of)
        .window(windows, timestamp=identity)
        .reduce(add, retry=RetryPolicy(attempts=2, first_delay=0.001))
        .sink(out.append)
    )
    result = env.submit(autostop=True)
    assert result.operator("window").retried == 1
    assert {value for _, _, _, value, _ in out} == {10}


def test_sessions_whose_merge_fails(env: LocalEnvironment) -> None:
    """The record that joined them is given up, and both sessions stay."""

    def add(left: int, right: int) -> int:
        if left + right > 100:
            raise OverflowError
        return left + right

    out: list[Any] = []
    (
        env.from_collection([(0, 60), (8, 70), (4, 1), (50, 5)])
        .keyby(lambda _: "k")
        .window(SessionWindows(5), timestamp=lambda r: r[0], out_of_orderness=20)
        .apply(lambda records: [value for _, value in records])
        .sink(out.append)
    )
    env.submit(autostop=True)
    assert [each.value for each in out] == [[60, 70, 1], [5]]

    class Sum(AggregateFunction):
        def create(self) -> int:
            return 0

        def add(self, accumulator: int, data: tuple[int, int]) -> int:
            return accumulator + data[1]

        def merge(self, accumulator: int, other: int) -> int:
            return add(accumulator, other)

    other = LocalEnvironment()
    sums: list[Any] = []
    (
        other.from_collection([(0, 60), (8, 70), (4, 1), (50, 5)])
        .keyby(lambda _: "k")
        .window(SessionWindows(5), timestamp=lambda r: r[0], out_of_orderness=20)
        .aggregate(Sum, on_error="skip")
        .sink(sums.append)
    )
    result = other.submit(autostop=True)
    assert sorted(each.value for each in sums) == [5, 60, 70]
    assert result.failed == 1


def remind(record: int, context: RuntimeContext) -> Iterator[int]:
    context.timer(record + 5)
    yield record


def fired(at: float, context: RuntimeContext) -> Iterator[float]:
    yield at
    if at == 16:
        raise ValueError("sixteen")


def test_a_timer_is_given_up(env: LocalEnvironment) -> None:
    """A timer whose function raises is named with its key, and emits nothing; the record that
    brought it about goes on."""
    out: list[float] = []
    (
        env.from_collection(RECORDS)
        .keyby(key_of)
        .process(remind, on_timer=fired, timestamp=identity, on_error="dead_letter")
        .sink(out.append)
    )
    result = env.submit(autostop=True)
    assert sorted(out) == sorted([*RECORDS, *(record + 5 for record in RECORDS if record != 11)])
    (letter,) = result.dead_letters
    assert letter.record == ("k", 16)
    assert repr(letter.record) == "TimerFired(key='k', at=16)"
    assert result.operator("remind").records_in == len(RECORDS)


def test_a_join_that_is_tried_again(env: LocalEnvironment) -> None:
    """A record is kept for later ones once, however often its pairs were tried."""
    tries: Counter[Any] = Counter()

    def pair(left: int, right: int) -> tuple[int, int]:
        tries[left, right] += 1
        if tries[left, right] == 1:
            raise ConnectionError
        return left, right

    out: list[Any] = []
    first, second = env.from_collection([1, 2]), env.from_collection([3, 4])
    (
        first.connect(second)
        .keyby(key_of, key_of)
        .join(pair, retry=RetryPolicy(attempts=9, first_delay=0.001))
        .sink(out.append)
    )
    env.submit(autostop=True)
    assert sorted(out) == [(1, 3), (1, 4), (2, 3), (2, 4)]
