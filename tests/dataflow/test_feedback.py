"""from_future and fill_future: what comes out further down goes round again."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment, Stream, TumblingWindows
from sage.errors import DataflowError, GraphError, OperatorError


def halve(number: int) -> int:
    return number // 2


def loop(
    env: LocalEnvironment, records: Any, body: Callable[[Stream], Stream] = lambda stream: stream
) -> list[int]:
    """Halve numbers until they are 0; return each that was seen on the way."""
    seen: list[int] = []
    back = env.from_future("back")
    halves = body(env.from_source(records).union(back)).map(halve)
    halves.filter(lambda number: number > 0).fill_future(back)
    halves.sink(seen.append)
    result = env.submit(autostop=True)
    assert result.abandoned == 0
    return seen


def expected(records: list[int]) -> Counter[int]:
    seen: Counter[int] = Counter()
    for record in records:
        number = record
        while number:
            number //= 2
            seen[number] += 1
    return seen


RUNS = st.sampled_from(
    [
        {"workers": "inline"},
        {"workers": "thread"},
        {"workers": "thread", "batch_size": 2, "channel_capacity": 1},
    ]
)
BODIES: dict[str, Callable[[Stream], Stream]] = {
    "plain": lambda stream: stream,
    "parallel": lambda stream: stream.map(lambda number: number, parallelism=3),
    "batched": lambda stream: stream.batch(3).flatmap(lambda numbers: numbers),
    "keyed": lambda stream: stream.keyby(lambda number: number % 3).map(
        lambda number: number, parallelism=2
    ),
}


@given(
    records=st.lists(st.integers(1, 1 << 40), max_size=20),
    config=RUNS,
    body=st.sampled_from(sorted(BODIES)),
)
@settings(max_examples=80, deadline=None)
def test_loops_equal_plain_python(records: list[int], config: dict[str, Any], body: str) -> None:
    """Every record goes round as often as it should, and the job ends when none does any more."""
    env = LocalEnvironment(config=config)
    assert Counter(loop(env, iter(records), BODIES[body])) == expected(records)


def test_many_turns(env: LocalEnvironment) -> None:
    """A record may go round more often than Python can recurse."""
    out: list[int] = []
    back = env.from_future("back")
    counted = env.from_collection([0]).union(back).map(lambda number: number + 1)
    counted.filter(lambda number: number < 5000).fill_future(back)
    counted.sink(out.append)
    env.submit(autostop=True)
    assert out == list(range(1, 5001))


def test_a_loop_that_multiplies_does_not_stop_itself() -> None:
    """More comes back than any channel holds, and the loop goes on."""
    env = LocalEnvironment(config={"channel_capacity": 4, "batch_size": 2})
    out: list[int] = []
    back = env.from_future("back")
    doubled = env.from_collection([0] * 10).union(back).flatmap(lambda depth: [depth + 1] * 2)
    doubled.filter(lambda depth: depth < 8).fill_future(back)
    doubled.sink(out.append)
    env.submit(autostop=True)
    assert Counter(out) == Counter({depth: 10 * 2**depth for depth in range(1, 9)})


@pytest.mark.parametrize("ordered", [True, False])
def test_async_operators_in_a_loop(env: LocalEnvironment, ordered: bool) -> None:
    """Records in flight keep the loop open."""

    async def call(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    seen = loop(env, iter([9, 64]), lambda stream: stream.map(call, ordered=ordered))
    assert Counter(seen) == expected([9, 64])


def test_processes_in_a_loop() -> None:
    """A worker process is gone round through like any other replica."""
    env = LocalEnvironment()
    seen = loop(
        env, iter([9, 64]), lambda stream: stream.map(abs, workers="process", parallelism=2)
    )
    assert Counter(seen) == expected([9, 64])


def test_the_loop_waits_for_its_source() -> None:
    """An empty loop goes on while its source may still give records."""
    arrived = threading.Event()

    def source() -> Iterator[int]:
        yield 4
        assert arrived.wait(20)
        yield 8

    out: list[int] = []

    def sink(number: int) -> None:
        out.append(number)
        if number == 0:
            arrived.set()

    env = LocalEnvironment()
    back = env.from_future("back")
    halves = env.from_source(source).union(back).map(halve)
    halves.filter(lambda number: number > 0).fill_future(back)
    halves.sink(sink)
    env.submit(autostop=True)
    assert Counter(out) == expected([4, 8])


def test_stop_drains_the_loop() -> None:
    """What goes round when the job is stopped goes on to its end."""
    env = LocalEnvironment()
    started = threading.Event()
    out: list[int] = []

    def source() -> Iterator[int | None]:
        yield 1 << 20
        started.set()
        yield from iter(lambda: None, 1)

    back = env.from_future("back")
    halves = env.from_source(source).union(back).map(halve)
    halves.filter(lambda number: number > 0).fill_future(back)
    halves.sink(out.append)
    job = env.submit()
    assert started.wait(20)
    result = job.stop()
    assert Counter(out) == expected([1 << 20])
    assert result.abandoned == 0


def test_cancel_ends_a_loop_without_end() -> None:
    """A loop that never empties can be stopped all the same."""
    env = LocalEnvironment()
    turned = threading.Event()

    def turn(number: int) -> int:
        if number > 100:
            turned.set()
        return number + 1

    back = env.from_future("back")
    turning = env.from_collection([0]).union(back).map(turn)
    turning.fill_future(back)
    turning.sink(lambda _: None)
    job = env.submit()
    assert turned.wait(20)
    job.cancel(timeout=20)


def test_an_error_in_a_loop_ends_the_job(env: LocalEnvironment) -> None:
    """It is raised to who waits, with the record."""
    back = env.from_future("back")
    down = env.from_collection([3]).union(back).map(lambda number: number - number // number)
    down.fill_future(back)
    down.sink(lambda _: None)
    with pytest.raises(OperatorError, match="failed on record 0: ZeroDivisionError"):
        env.submit(autostop=True)


def test_windows_behind_a_loop(env: LocalEnvironment) -> None:
    """The loop's end is the end of the input for what comes after."""
    out: list[Any] = []
    back = env.from_future("back")
    halves = env.from_collection([40]).union(back).map(halve)
    halves.filter(lambda number: number > 0).fill_future(back)
    halves.keyby(lambda _: 0).window(
        TumblingWindows(10), timestamp=lambda number: number, out_of_orderness=100
    ).list().sink(out.append)
    env.submit(autostop=True)
    assert [(result.start, sorted(result.value)) for result in out] == [
        (0, [0, 1, 2, 5]),
        (10, [10]),
        (20, [20]),
    ]


def test_what_comes_back_after_the_end_is_an_error(env: LocalEnvironment) -> None:
    """An operator that keeps records until its input ends cannot be in a loop, and says so."""
    back = env.from_future("back")
    summed = (
        env.from_collection([1, 2])
        .union(back)
        .keyby(lambda _: 0)
        .reduce(lambda left, right: left + right, emit="end")
    )
    summed.fill_future(back)
    summed.sink(lambda _: None)
    with pytest.raises(DataflowError, match=r"from_future\('back'\) after its loop had ended"):
        env.submit(autostop=True)


def test_retries_by_a_loop(env: LocalEnvironment) -> None:
    """The usual use: what failed goes back, with a count."""
    failures = {"b": 2, "c": 9}

    def attempt(record: tuple[str, int]) -> tuple[str, int, bool]:
        name, tries = record
        return name, tries + 1, tries >= failures.get(name, 0)

    done: list[tuple[str, int]] = []
    given_up: list[str] = []
    again = env.from_future("again")
    outcome = env.from_collection([("a", 0), ("b", 0), ("c", 0)]).union(again).map(attempt)
    kinds = outcome.split(lambda o: "done" if o[2] else "again" if o[1] < 5 else "given up")
    kinds["again"].map(lambda o: o[:2]).fill_future(again)
    kinds["done"].sink(lambda o: done.append(o[:2]))
    kinds["given up"].sink(lambda o: given_up.append(o[0]))
    env.submit(autostop=True)
    assert sorted(done) == [("a", 1), ("b", 3)]
    assert given_up == ["c"]


def test_a_future_need_not_be_a_loop(env: LocalEnvironment) -> None:
    """A stream may be used before it is made."""
    out: list[int] = []
    later = env.from_future("later")
    later.map(lambda number: number + 1).sink(out.append)
    env.from_collection([1, 2]).map(lambda number: number * 10).fill_future(later)
    result = env.submit(autostop=True)
    assert out == [11, 21]
    assert result.abandoned == 0


def unfilled(env: LocalEnvironment) -> None:
    env.from_collection([1]).union(env.from_future("back")).sink(print)
    env.submit(autostop=True)


def filled_twice(env: LocalEnvironment) -> None:
    back = env.from_future("back")
    stream = env.from_collection([1]).union(back).map(halve)
    stream.fill_future(back)
    stream.fill_future(back)


def another_stream(env: LocalEnvironment) -> None:
    env.from_collection([1]).map(halve).fill_future(env.from_collection([2]))


def another_environment(env: LocalEnvironment) -> None:
    env.from_collection([1]).map(halve).fill_future(LocalEnvironment("other").from_future("back"))


def nested(env: LocalEnvironment) -> None:
    outer, inner = env.from_future("outer"), env.from_future("inner")
    stream = env.from_collection([1]).union(outer).map(halve).union(inner).map(halve)
    stream.filter(bool).fill_future(inner)
    stream.filter(bool).fill_future(outer)
    stream.sink(print)
    env.submit(autostop=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (unfilled, r"from_future\('back'\) was never filled"),
        (filled_twice, r"from_future\('back'\) is filled already"),
        (another_stream, r"from_future\(\) did not return"),
        (another_environment, "environment 'other'"),
        (nested, "a loop cannot lie within another one"),
    ],
)
def test_what_cannot_be(build: Callable[[LocalEnvironment], None], message: str) -> None:
    """Futures that make no pipeline are errors."""
    with pytest.raises(GraphError, match=message):
        build(LocalEnvironment())
