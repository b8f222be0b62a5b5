"""Operators of every kind, as a stream has them and as plain Python does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sage.dataflow import (
    CoMapFunction,
    JobResult,
    RuntimeContext,
    SessionWindows,
    SlidingWindows,
    Stream,
    TumblingWindows,
    WindowResult,
)
from sage.dataflow.graph import Kind, Node

Records = list[int]

# Records may come in any order: no window is to find one late.
PATIENT = 10**9


@dataclass(frozen=True)
class Step:
    """An operator of one stream, as the stream has it and as a list does.

    ``dead`` are the records that it gives up, to the dead letters.
    """

    name: str
    build: Callable[[Stream, int], Stream]
    plain: Callable[[Records], Records]
    dead: Callable[[Records], Records] = lambda records: []


@dataclass(frozen=True)
class Pair:
    """An operator of two streams."""

    name: str
    build: Callable[[Stream, Stream, int], Stream]
    plain: Callable[[Records, Records], Records]


# Functions of the module: those that run in worker processes are sent there by name.


def same(record: int) -> int:
    return record


def more(record: int) -> int:
    return record + 1


def not_by_three(record: int) -> bool:
    return record % 3 != 0


def twice(record: int) -> Records:
    return [record, record + 1] if record % 2 else []


async def later(record: int) -> int:
    await asyncio.sleep(0)
    return record * 2


def unpack(records: Records) -> Records:
    return records


def by_three(record: int) -> int:
    return record % 3


def add(left: int, right: int) -> int:
    return left + right


def values(result: WindowResult) -> Records:
    return list(result.value)


def value(result: WindowResult) -> int:
    return int(result.value)


def odd_or_even(record: int) -> str:
    return "odd" if record % 2 else "even"


def no_fives(record: int) -> int:
    if record % 5 == 0:
        raise ValueError(record)
    return record


def joined(left: int, right: int) -> int | None:
    return left + right if (left + right) % 2 == 0 else None


def joined_in_window(left: int, right: int) -> int:
    return left * 2 + right


class Sides(CoMapFunction):
    def map1(self, data: int) -> int:
        return data + 3

    def map2(self, data: int) -> int | None:
        return data * 2 if data % 2 else None


def remind(record: int, context: RuntimeContext) -> None:
    context.state.list("seen").append(record)
    context.timer(record + 5)


def reminded(_: float, context: RuntimeContext) -> Records:
    seen = context.state.list("seen")
    records: Records = seen.get()
    seen.clear()
    return records


def feedback(stream: Stream, parallelism: int) -> Stream:
    back = stream.environment.from_future(stream.environment.free_name("back"))
    halves = stream.union(back).map(half, parallelism=parallelism, workers="thread")
    halves.filter(bool, workers="thread").fill_future(back)
    return halves


def half(record: int) -> int:
    return record // 2


def halves(records: Records) -> Records:
    out: Records = []
    for record in records:
        left = record // 2
        out.append(left)
        while left > 0:
            left //= 2
            out.append(left)
    return out


def split(stream: Stream, parallelism: int) -> Stream:
    parts = stream.split(odd_or_even, parallelism=parallelism)
    return parts["odd"].map(more, parallelism=parallelism).union(parts["even"])


def windowed(windows: Any) -> Callable[[Stream, int], Stream]:
    def build(stream: Stream, parallelism: int) -> Stream:
        return (
            stream.keyby(by_three)
            .window(windows, timestamp=same, out_of_orderness=PATIENT)
            .reduce(add, parallelism=parallelism)
            .map(value)
        )

    return build


def sums(size: int, slide: int) -> Callable[[Records], Records]:
    """The plain sums by key and window."""

    def plain(records: Records) -> Records:
        totals: dict[tuple[int, int], int] = defaultdict(int)
        for record in records:
            for start in range(record // slide * slide, record - size, -slide):
                totals[record % 3, start] += record
        return list(totals.values())

    return plain


def join_in_windows(first: Stream, second: Stream, parallelism: int) -> Stream:
    return (
        first.connect(second)
        .keyby(by_three, by_three)
        .window(TumblingWindows(8), timestamp=same, out_of_orderness=PATIENT)
        .join(joined_in_window, parallelism=parallelism)
        .map(value)
    )


STEPS: list[Step | Pair] = [
    Step("map", lambda s, n: s.map(more, parallelism=n), lambda rs: [r + 1 for r in rs]),
    Step(
        "filter",
        lambda s, n: s.filter(not_by_three, parallelism=n),
        lambda rs: [r for r in rs if r % 3 != 0],
    ),
    Step(
        "flatmap",
        lambda s, n: s.flatmap(twice, parallelism=n),
        lambda rs: [each for r in rs for each in twice(r)],
    ),
    Step(
        "async, ordered",
        lambda s, n: s.map(later, parallelism=n, concurrency=3),
        lambda rs: [r * 2 for r in rs],
    ),
    Step(
        "async, as they come",
        lambda s, n: s.map(later, parallelism=n, ordered=False, concurrency=3),
        lambda rs: [r * 2 for r in rs],
    ),
    Step("batch", lambda s, n: s.batch(3).flatmap(unpack, parallelism=n), lambda rs: rs),
    Step(
        "reduce",
        lambda s, n: s.keyby(by_three).reduce(add, emit="end", parallelism=n),
        lambda rs: [sum(r for r in rs if r % 3 == key) for key in {r % 3 for r in rs}],
    ),
    Step(
        "session",
        lambda s, n: (
            s.keyby(by_three)
            .window(SessionWindows(7), timestamp=same, out_of_orderness=PATIENT)
            .list(parallelism=n)
            .flatmap(values)
        ),
        lambda rs: rs,
    ),
    Step("tumbling", windowed(TumblingWindows(4)), sums(4, 4)),
    Step("sliding", windowed(SlidingWindows(6, 3)), sums(6, 3)),
    Step("event time", lambda s, n: s.event_time(same, 3, parallelism=n), lambda rs: rs),
    Step(
        "process",
        lambda s, n: s.keyby(by_three).process(
            remind, on_timer=reminded, timestamp=same, out_of_orderness=2, parallelism=n
        ),
        lambda rs: rs,
    ),
    Step("feedback", feedback, halves),
    Step("split", split, lambda rs: [r + r % 2 for r in rs]),
    Step(
        "skip",
        lambda s, n: s.map(no_fives, parallelism=n, on_error="skip"),
        lambda rs: [r for r in rs if r % 5],
    ),
    Step(
        "dead letters",
        lambda s, n: s.map(no_fives, parallelism=n, on_error="dead_letter"),
        lambda rs: [r for r in rs if r % 5],
        lambda rs: [r for r in rs if r % 5 == 0],
    ),
    Pair("union", lambda a, b, n: a.union(b), lambda a, b: a + b),
    Pair(
        "comap",
        lambda a, b, n: a.connect(b).comap(Sides, parallelism=n),
        lambda a, b: [r + 3 for r in a] + [r * 2 for r in b if r % 2],
    ),
    Pair(
        "join",
        lambda a, b, n: a.connect(b).keyby(by_three, by_three).join(joined, parallelism=n),
        lambda a, b: [x + y for x in a for y in b if x % 3 == y % 3 and (x + y) % 2 == 0],
    ),
    Pair(
        "windowed join",
        join_in_windows,
        lambda a, b: [x * 2 + y for x in a for y in b if x % 3 == y % 3 and x // 8 == y // 8],
    ),
]


def check_counts(nodes: tuple[Node, ...], result: JobResult) -> None:
    """What an operator takes is what its inputs emitted; what it takes has come to some end."""
    reports = {node.id: result.operator(node.name) for node in nodes}
    for node in nodes:
        report = reports[node.id]
        if node.inputs:
            given_ = sum(reports[number].records_out for number in node.inputs)
            assert report.records_in == given_, node.name
        if node.kind not in (Kind.SOURCE, Kind.FLATMAP):
            ended = report.records_out + report.dropped + report.failed
            assert report.records_in == ended, node.name
    assert result.abandoned == 0
