"""Random graphs of random operators give what a plain evaluation gives, and lose nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment, RuntimeContext, SessionWindows, Stream

Plain = Callable[[list[int]], list[int]]


@dataclass(frozen=True)
class Step:
    """An operator, as a stream has it and as a list does."""

    name: str
    build: Callable[[Stream, int], Stream]
    plain: Plain


async def _later(record: int) -> int:
    await asyncio.sleep(0)
    return record * 2


def _twice(record: int) -> list[int]:
    return [record, record + 1] if record % 2 else []


def _remind(record: int, context: RuntimeContext) -> None:
    context.state.list("seen").append(record)
    context.timer(record + 5)


def _reminded(_: float, context: RuntimeContext) -> list[int]:
    seen = context.state.list("seen")
    records = seen.get()
    seen.clear()
    return records


def _feedback(stream: Stream, parallelism: int) -> Stream:
    back = stream.environment.from_future(stream.environment.free_name("back"))
    halves = stream.union(back).map(lambda record: record // 2, parallelism=parallelism)
    halves.filter(lambda record: record > 0).fill_future(back)
    return halves


def _halves(records: list[int]) -> list[int]:
    out: list[int] = []
    for record in records:
        left = record // 2
        out.append(left)
        while left > 0:
            left //= 2
            out.append(left)
    return out


def _by_three(record: int) -> int:
    return record % 3


STEPS = [
    Step("map", lambda s, n: s.map(lambda r: r + 1, parallelism=n), lambda rs: [r + 1 for r in rs]),
    Step(
        "filter",
        lambda s, n: s.filter(lambda r: r % 3 != 0, parallelism=n),
        lambda rs: [r for r in rs if r % 3 != 0],
    ),
    Step(
        "flatmap",
        lambda s, n: s.flatmap(_twice, parallelism=n),
        lambda rs: [each for r in rs for each in _twice(r)],
    ),
    Step(
        "async",
        lambda s, n: s.map(_later, parallelism=n, ordered=n != 2, concurrency=3),
        lambda rs: [r * 2 for r in rs],
    ),
    Step("batch", lambda s, n: s.batch(3).flatmap(lambda rs: rs, parallelism=n), lambda rs: rs),
    Step(
        "reduce",
        lambda s, n: s.keyby(_by_three).reduce(lambda a, b: a + b, emit="end", parallelism=n),
        lambda rs: [sum(r for r in rs if r % 3 == key) for key in {r % 3 for r in rs}],
    ),
    Step(
        "window",
        lambda s, n: (
            s.keyby(_by_three)
            .window(SessionWindows(7), timestamp=lambda r: r, out_of_orderness=10**9)
            .list(parallelism=n)
            .flatmap(lambda result: result.value)
        ),
        lambda rs: rs,
    ),
    Step(
        "event time",
        lambda s, n: s.event_time(lambda r: r, 3, parallelism=n),
        lambda rs: rs,
    ),
    Step(
        "process",
        lambda s, n: s.keyby(_by_three).process(
            _remind,
            on_timer=_reminded,
            timestamp=lambda r: r,
            out_of_orderness=2,
            parallelism=n,
        ),
        lambda rs: rs,
    ),
    Step("feedback", _feedback, _halves),
]


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Each step reads streams made before it: (step, stream, parallelism) or a union of two."""
    program: list[tuple[Any, ...]] = []
    for made in range(2, 2 + draw(st.integers(1, 6))):
        read = draw(st.integers(0, made - 1))
        other = draw(st.integers(0, made - 1))
        step = draw(st.sampled_from([*STEPS, None]))
        if step is None and read != other:
            program.append((None, read, other))
        else:
            program.append((step or STEPS[0], read, draw(st.integers(1, 3))))
    return program


@given(
    program=programs(),
    first=st.lists(st.integers(0, 60), max_size=12),
    second=st.lists(st.integers(0, 60), max_size=12),
    config=st.sampled_from(
        [
            {"workers": "inline"},
            {"workers": "thread"},
            {"workers": "thread", "batch_size": 2, "channel_capacity": 2},
        ]
    ),
)
@settings(max_examples=120, deadline=None)
def test_the_same_multiset(
    program: list[tuple[Any, ...]], first: list[int], second: list[int], config: dict[str, Any]
) -> None:
    """Whatever is put together: the records that come out, and the counts."""
    env = LocalEnvironment(config=config)
    streams = [env.from_collection(first), env.from_source(iter(second))]
    plain = [first, second]
    outputs: list[list[int]] = []
    for step, read, number in program:
        if step is None:
            # A stream that is read twice over would be refused: each side is a copy.
            sides = [streams[index].map(lambda record: record) for index in (read, number)]
            streams.append(sides[0].union(sides[1]))
            plain.append(plain[read] + plain[number])
        else:
            streams.append(step.build(streams[read].map(lambda record: record), number))
            plain.append(step.plain(plain[read]))
    for stream in streams:
        outputs.append([])
        stream.sink(outputs[-1].append)
    result = env.submit(autostop=True)
    assert [Counter(output) for output in outputs] == [Counter(records) for records in plain]
    assert result.abandoned == 0
    assert result.failed == 0
