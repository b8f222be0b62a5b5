"""Watermarks: through unions, replicas, processes, async operators and windows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.timed import (
    Clock,
    Record,
    as_lists,
    expected,
    key,
    moved,
    time,
)

from sage.dataflow import (
    LocalEnvironment,
    SlidingWindows,
    TumblingWindows,
    WindowResult,
)
from sage.errors import ConfigError


def test_windows_of_windows(env: LocalEnvironment) -> None:
    """Watermarks go on through a window: its results are of its last moment."""
    out: list[WindowResult] = []
    records = [("a", moment) for moment in range(40)]
    env.from_collection(records).keyby(key).window(TumblingWindows(5), timestamp=time).apply(
        len
    ).keyby(lambda result: "all").window(
        TumblingWindows(10), timestamp=lambda result: result.timestamp
    ).apply(lambda results: sum(result.value for result in results)).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [("all", start, start + 10, 10, 0) for start in range(0, 40, 10)]
    assert result.dead_letters == ()


def test_union_waits_for_the_slower_input() -> None:
    """A window stays open while one input's watermark is before its end; an input that has ended
    is not waited for."""
    out: list[WindowResult] = []
    early: list[int] = []

    def slow() -> Iterator[Record | None]:
        yield ("slow", 1)
        for _ in range(20):
            yield None
        early.append(len(out))
        yield ("slow", 25)
        for _ in range(20):
            yield None
        early.append(len(out))

    env = LocalEnvironment(config={"workers": "inline"})
    fast = env.from_collection([("fast", 2), ("fast", 30)]).event_time(time)
    env.from_source(slow).event_time(time).union(fast).keyby(lambda _: 0).window(
        TumblingWindows(10), timestamp=time
    ).list().sink(out.append)
    result = env.submit(autostop=True)
    assert early == [0, 1]
    assert as_lists(out) == {(0, 0, 10): [1, 2], (0, 20, 30): [25], (0, 30, 40): [30]}
    assert result.dead_letters == ()


@pytest.mark.parametrize("workers", ["inline", "thread"])
def test_a_silent_input_is_left_out(workers: str) -> None:
    """After idle_after seconds without a record, also with none at all, a union does not wait for
    an input; when it wakes, it counts again."""
    clock = Clock()
    out: list[WindowResult] = []
    seen: list[int] = []

    def silent() -> Iterator[Record | None]:
        yield ("silent", 1)
        yield from iter(lambda: None if not out else 1, 1)
        yield ("silent", 22)
        for _ in range(50):
            yield None
        seen.append(len(out))

    def steady() -> Iterator[Record | None]:
        yield ("steady", 2)
        yield ("steady", 30)
        for _ in range(20):
            yield None
        seen.append(len(out))
        while not out:
            clock.now += 1
            yield None

    def never() -> Iterator[Record | None]:
        yield from iter(lambda: None if len(seen) < 2 else 1, 1)

    env = LocalEnvironment(config={"workers": workers}, clock=clock)
    streams = [
        env.from_source(source).event_time(time, idle_after=5) for source in (silent, steady, never)
    ]
    streams[0].union(*streams[1:]).keyby(lambda _: 0).window(
        TumblingWindows(10), timestamp=time
    ).list().sink(out.append)
    result = env.submit(autostop=True)
    assert seen[0] == 0
    lists = as_lists(out)
    assert lists[0, 0, 10] == [1, 2]
    assert lists[0, 30, 40] == [30]
    late = [letter.record for letter in result.dead_letters]
    assert (late == [("silent", 22)]) != (lists.get((0, 20, 30)) == [22])


def test_idle_after_is_above_0() -> None:
    """A wrong value fails where it is written."""
    with pytest.raises(ConfigError, match="idle_after is 0"):
        LocalEnvironment().from_collection([("a", 1)]).event_time(time, idle_after=0)


def pair_time(record: tuple[str, float]) -> float:
    return record[1]


def add_times(left: Record, right: Record) -> Record:
    return left[0], left[1] + right[1]


def shift(record: Record) -> Record:
    return record


@pytest.mark.parametrize("parallelism", [1, 2])
def test_in_processes(parallelism: int) -> None:
    """Watermarks reach windows in worker processes, through operators in such, and late records
    come back as dead letters."""
    env = LocalEnvironment(config={"workers": "process"})
    records = [("ab"[index % 2], index) for index in range(100)]
    out: list[WindowResult] = []
    env.from_collection([*records, ("a", 0), ("a", 200)], name="numbers").event_time(pair_time).map(
        shift, parallelism=parallelism
    ).keyby(key).window(TumblingWindows(10), timestamp=pair_time).reduce(
        add_times, parallelism=parallelism
    ).sink(out.append)
    result = env.submit(autostop=True)
    totals = {(r.key, r.start): r.value[1] for r in out}
    late = sum(letter.record[1] for letter in result.dead_letters)
    assert sum(totals.values()) + late == sum(range(100)) + 200
    assert len(result.dead_letters) == result.operator("window").metrics.get("late", 0)
    assert {(name, start) for name, start in totals if start < 100} == {
        (name, start) for name in "ab" for start in range(0, 100, 10)
    }


@pytest.mark.parametrize("ordered", [True, False])
def test_watermarks_stay_behind_records_in_flight(env: LocalEnvironment, ordered: bool) -> None:
    """An async operator lets no watermark overtake the records before it."""

    async def call(record: Record) -> Record:
        await asyncio.sleep(0.001 * (record[1] % 7))
        return record

    records = [("a", moment) for moment in range(200)]
    out: list[WindowResult] = []
    env.from_collection(records).event_time(time).map(call, ordered=ordered, concurrency=16).keyby(
        key
    ).window(TumblingWindows(10), timestamp=time).list().sink(out.append)
    result = env.submit(autostop=True)
    assert result.dead_letters == ()
    assert as_lists(out) == expected(TumblingWindows(10), records)
    assert len(out) == 20


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_clock_jumps_change_no_event_time_window(jump: float) -> None:
    """The clock plays no part in event time."""
    outcomes = []
    for by in (0.0, jump):
        clock = Clock()
        steps = [
            (1000.0 + (by if index >= 10 else 0.0), ("a", index * 3 % 20)) for index in range(20)
        ]
        out: list[WindowResult] = []
        env = LocalEnvironment(config={"workers": "inline"}, clock=clock)
        env.from_source(moved(clock, steps)).keyby(key).window(
            SlidingWindows(6, 3), timestamp=time, out_of_orderness=4
        ).list().sink(out.append)
        result = env.submit(autostop=True)
        outcomes.append((out, [letter.record for letter in result.dead_letters]))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1]


@pytest.mark.parametrize(("out_of_orderness", "late"), [(None, 1), (100, 0)])
def test_watermarks_may_be_made_anew(out_of_orderness: float | None, late: int) -> None:
    """out_of_orderness at a window puts its own in place of those from further up."""
    env = LocalEnvironment(config={"workers": "inline"})
    records = iter([("a", 1), ("a", 30), ("a", 5)])
    env.from_source(records).event_time(time).keyby(key).window(
        TumblingWindows(10), timestamp=time, out_of_orderness=out_of_orderness
    ).list().sink(lambda _: None)
    assert len(env.submit(autostop=True).dead_letters) == late
