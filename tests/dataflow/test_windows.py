"""window: the records of each key divided by time, late ones counted."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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

Record = tuple[str, float]
SIZES = st.integers(1, 12)
WINDOWS = st.one_of(
    st.builds(TumblingWindows, SIZES, st.integers(-5, 5)),
    SIZES.flatmap(lambda size: st.builds(SlidingWindows, st.just(size), st.integers(1, size))),
    st.builds(SessionWindows, SIZES),
)
RECORDS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-20, 60)), max_size=40)
RUNS = st.sampled_from(
    [{"workers": "inline"}, {"workers": "thread"}, {"workers": "thread", "batch_size": 2}]
)


def key(record: Record) -> str:
    return record[0]


def time(record: Record) -> float:
    return record[1]


def windows_of(windows: Windows, timestamps: list[float]) -> dict[tuple[float, float], list[float]]:
    """The plain evaluation: each window and the moments in it, whatever their order."""
    found: dict[tuple[float, float], list[float]] = defaultdict(list)
    if isinstance(windows, SessionWindows):
        run: list[float] = []
        for moment in [*sorted(timestamps), math.inf]:
            if run and moment - run[-1] >= windows.gap:
                found[run[0], run[-1] + windows.gap] = run
                run = []
            run.append(moment)
        return found
    assert isinstance(windows, (TumblingWindows, SlidingWindows))
    slide = windows.slide if isinstance(windows, SlidingWindows) else windows.size
    for moment in timestamps:
        for number in range(-100, 200):
            start = number * slide + windows.offset
            if start <= moment < start + windows.size:
                found[start, start + windows.size].append(moment)
    return found


def expected(windows: Windows, records: list[Record]) -> dict[tuple[Any, ...], list[float]]:
    """The same for each key."""
    by_key: dict[str, list[float]] = defaultdict(list)
    for name, moment in records:
        by_key[name].append(moment)
    return {
        (name, *window): sorted(inside)
        for name, moments in by_key.items()
        for window, inside in windows_of(windows, moments).items()
    }


def as_lists(results: list[WindowResult]) -> dict[tuple[Any, ...], list[float]]:
    return {
        (result.key, result.start, result.end): sorted(moment for _, moment in result.value)
        for result in results
    }


@given(windows=WINDOWS, records=RECORDS, config=RUNS, parallelism=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_event_time_equals_plain_python(
    windows: Windows, records: list[Record], config: dict[str, Any], parallelism: int
) -> None:
    """With enough out-of-orderness no record is late, and each window has the records of its time,
    whatever the order, the batches and the replicas."""
    env = LocalEnvironment(config=config)
    out: list[WindowResult] = []
    env.from_collection(records).map(lambda record: record, parallelism=parallelism).keyby(
        key
    ).window(windows, timestamp=time, out_of_orderness=80).list(parallelism=parallelism).sink(
        out.append
    )
    result = env.submit(autostop=True)
    assert as_lists(out) == expected(windows, records)
    assert len(as_lists(out)) == len(out)
    assert result.operator("window").metrics.get("late", 0) == 0


def evaluate(
    windows: TumblingWindows, records: list[Record], out_of_orderness: float
) -> tuple[list[Record], list[Record]]:
    """Tell records in time from late ones, one by one, as the watermark stands at each."""
    watermark = -math.inf
    kept: list[Record] = []
    late: list[Record] = []
    for record in records:
        watermark = max(watermark, record[1] - out_of_orderness)
        ((_, end),) = windows_of(windows, [record[1]])
        (late if end <= watermark else kept).append(record)
    return kept, late


@given(
    size=SIZES,
    records=RECORDS,
    out_of_orderness=st.integers(0, 10),
    config=RUNS,
    parallelism=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_what_is_late_does_not_depend_on_batches(
    size: int,
    records: list[Record],
    out_of_orderness: int,
    config: dict[str, Any],
    parallelism: int,
) -> None:
    """One stream's late records are those of a plain loop; the others are in their windows."""
    windows = TumblingWindows(size)
    env = LocalEnvironment(config=config)
    out: list[WindowResult] = []
    late: list[Record] = []
    windowed = (
        env.from_collection(records)
        .keyby(key)
        .window(windows, timestamp=time, out_of_orderness=out_of_orderness, late="stream")
    )
    windowed.list(parallelism=parallelism).sink(out.append)
    windowed.late.sink(late.append)
    result = env.submit(autostop=True)
    kept, too_late = evaluate(windows, records, out_of_orderness)
    assert as_lists(out) == expected(windows, kept)
    assert sorted(late) == sorted(too_late)
    assert result.operator("window").metrics.get("late", 0) == len(too_late)


def revisions(
    windows: Windows, records: list[Record], out_of_orderness: int, lateness: int
) -> tuple[Counter[Any], list[Record]]:
    """The plain evaluation of every result, and what is late: record by record, nothing clever."""
    watermark = -math.inf
    panes: dict[tuple[str, float, float], list[Record]] = {}
    emitted: Counter[tuple[str, float, float]] = Counter()
    due: set[tuple[str, float, float]] = set()
    out: Counter[Any] = Counter()
    late: list[Record] = []

    def emit_due() -> None:
        for pane in [pane for pane in due if pane[2] <= watermark]:
            due.discard(pane)
            out[(*pane, tuple(sorted(panes[pane])), emitted[pane])] += 1
            emitted[pane] += 1
        for pane in [pane for pane in panes if pane[2] + lateness <= watermark]:
            del panes[pane]

    for record in records:
        name, moment = record
        watermark = max(watermark, moment - out_of_orderness)
        emit_due()
        taken = False
        if isinstance(windows, SessionWindows):
            start, end = moment, moment + windows.gap
            parts = [p for p in panes if p[0] == name and p[1] < end and start < p[2]]
            own = [
                (min(start, *(p[1] for p in parts), start), max(end, *(p[2] for p in parts), end))
            ]
        else:
            parts = []
            own = list(windows_of(windows, [moment]))
        for start, end in own:
            pane = (name, start, end)
            if end + lateness <= watermark:
                continue
            taken = True
            inside = [old for part in parts for old in panes.pop(part)]
            emitted[pane] = max([emitted[pane], *(emitted[part] for part in parts)])
            due.difference_update(parts)
            panes[pane] = [*panes.get(pane, []), *inside, record]
            due.add(pane)
        if not taken:
            late.append(record)
        emit_due()
    watermark = math.inf
    emit_due()
    return out, late


@given(
    windows=WINDOWS,
    records=RECORDS,
    out_of_orderness=st.integers(0, 10),
    lateness=st.integers(0, 15),
    config=RUNS,
    parallelism=st.integers(1, 3),
)
@example(
    windows=SessionWindows(4),
    records=[("a", 0), ("a", 6), ("a", 20), ("a", 7), ("a", 3)],
    out_of_orderness=0,
    lateness=50,
    config={"workers": "inline"},
    parallelism=1,
)
@settings(max_examples=100, deadline=None)
def test_every_revision_is_that_of_plain_python(
    windows: Windows,
    records: list[Record],
    out_of_orderness: int,
    lateness: int,
    config: dict[str, Any],
    parallelism: int,
) -> None:
    """Which results a stream gives, and how often, depends on its records alone."""
    env = LocalEnvironment(config=config)
    out: list[WindowResult] = []
    env.from_collection(records).keyby(key).window(
        windows, timestamp=time, out_of_orderness=out_of_orderness, allowed_lateness=lateness
    ).apply(lambda inside: tuple(sorted(inside))).sink(out.append)
    result = env.submit(autostop=True)
    results, late = revisions(windows, records, out_of_orderness, lateness)
    assert Counter(map(tuple, out)) == results
    assert Counter(letter.record for letter in result.dead_letters) == Counter(late)


@given(
    windows=WINDOWS,
    records=RECORDS,
    out_of_orderness=st.integers(0, 10),
    lateness=st.integers(0, 20),
    config=RUNS,
    sources=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_record_is_somewhere(
    windows: Windows,
    records: list[Record],
    out_of_orderness: int,
    lateness: int,
    config: dict[str, Any],
    sources: int,
) -> None:
    """However late and from however many sources: a record is in a last revision or is counted."""
    env = LocalEnvironment(config=config)
    out: list[WindowResult] = []
    numbered = [(name, moment, index) for index, (name, moment) in enumerate(records)]
    streams = [
        env.from_collection(numbered[number::sources]).event_time(time, out_of_orderness)
        for number in range(sources)
    ]
    streams[0].union(*streams[1:]).keyby(key).window(
        windows, timestamp=time, allowed_lateness=lateness
    ).list().sink(out.append)
    result = env.submit(autostop=True)
    inside = {record for window in out for record in window.value}
    late = {letter.record for letter in result.dead_letters}
    assert inside | late == set(numbered)
    assert not inside & late
    assert result.operator("window").metrics.get("late", 0) == len(late)
    assert result.operator("window").dropped == len(late)
    for window in out:
        assert all(window.start <= moment < window.end for _, moment, _ in window.value)


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


def test_processing_time_in_processes() -> None:
    """Timers fire in worker processes too, without a next record."""
    out: list[WindowResult] = []

    def source() -> Iterator[str | None]:
        yield "x"
        yield from iter(lambda: None if not out else 1, 1)

    env = LocalEnvironment(config={"workers": "process"})
    env.from_source(source).keyby(str).window(TumblingWindows(0.05)).list().sink(out.append)
    env.submit(autostop=True)
    assert [result.value for result in out] == [["x"]]


@pytest.mark.parametrize("ordered", [True, False])
def test_watermarks_stay_behind_records_in_flight(env: LocalEnvironment, ordered: bool) -> None:
    """An async operator lets no watermark overtake the records before it."""
    import asyncio

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


class Clock:
    """A clock that a source moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def moved(clock: Clock, steps: list[tuple[float, Any]]) -> Callable[[], Iterator[Any]]:
    def source() -> Iterator[Any]:
        for now, record in steps:
            clock.now = now
            yield record

    return source


def test_processing_time() -> None:
    """Windows go by the injected clock and emit by a timer, without a next record."""
    clock = Clock()
    steps = [(1000.0, "x"), (1009.0, "y"), (1010.0, None), (1010.0, "z"), (1030.0, None)]
    seen: list[tuple[float, WindowResult]] = []
    env = LocalEnvironment(config={"workers": "inline"}, clock=clock)
    env.from_source(moved(clock, steps)).keyby(lambda _: 0).window(TumblingWindows(10)).list().sink(
        lambda result: seen.append((clock.now, result))
    )
    env.submit(autostop=True)
    assert seen == [
        (1010.0, (0, 1000.0, 1010.0, ["x", "y"], 0)),
        (1030.0, (0, 1010.0, 1020.0, ["z"], 0)),
    ]


@given(
    windows=WINDOWS,
    steps=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), max_size=30),
)
@settings(max_examples=50, deadline=None)
def test_processing_time_equals_plain_python(
    windows: Windows, steps: list[tuple[int, str]]
) -> None:
    """Each window has what arrived in its time, and nothing is ever late."""
    clock = Clock()
    arrivals: list[Record] = []
    for wait, name in steps:
        arrivals.append((name, (arrivals[-1][1] if arrivals else 0) + wait))
    env = LocalEnvironment(config={"workers": "inline"}, clock=clock)
    out: list[WindowResult] = []
    clock.now = 0.0
    source = moved(clock, [(record[1], record) for record in arrivals])
    env.from_source(source).keyby(key).window(windows).list().sink(out.append)
    result = env.submit(autostop=True)
    assert as_lists(out) == expected(windows, arrivals)
    assert result.operator("window").metrics == {}


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


def test_processing_time_in_threads_needs_no_next_record() -> None:
    """On the machine's own clock, a window emits while the source is silent."""
    out: list[WindowResult] = []

    def source() -> Iterator[str | None]:
        yield "x"
        while not out:
            yield None

    env = LocalEnvironment()
    env.from_source(source).keyby(str).window(TumblingWindows(0.05)).list().sink(out.append)
    env.submit(autostop=True)
    assert [result.value for result in out] == [["x"]]


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


@pytest.mark.parametrize(("out_of_orderness", "late"), [(None, 1), (100, 0)])
def test_watermarks_may_be_made_anew(out_of_orderness: float | None, late: int) -> None:
    """out_of_orderness at a window puts its own in place of those from further up."""
    env = LocalEnvironment(config={"workers": "inline"})
    records = iter([("a", 1), ("a", 30), ("a", 5)])
    env.from_source(records).event_time(time).keyby(key).window(
        TumblingWindows(10), timestamp=time, out_of_orderness=out_of_orderness
    ).list().sink(lambda _: None)
    assert len(env.submit(autostop=True).dead_letters) == late


def test_an_injected_clock_does_not_reach_processes() -> None:
    """Refused, rather than silently ignored."""
    env = LocalEnvironment(config={"workers": "process"}, clock=Clock())
    env.from_collection([1]).map(shift).sink(lambda _: None)
    with pytest.raises(GraphError, match="clock does not reach"):
        env.submit(autostop=True)
