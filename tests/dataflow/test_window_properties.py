"""Windows of any records equal a plain evaluation, whatever the batches and replicas."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.timed import (
    RECORDS,
    RUNS,
    SIZES,
    WINDOWS,
    Clock,
    Record,
    as_lists,
    expected,
    key,
    moved,
    time,
    windows_of,
)

from sage.dataflow import (
    LocalEnvironment,
    SessionWindows,
    TumblingWindows,
    WindowResult,
)
from sage.dataflow.windows import Windows


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
