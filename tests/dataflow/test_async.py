"""async def execute: many records in flight at once in one replica."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sage.dataflow import JobStatus, LocalEnvironment, MapFunction, RetryPolicy, SourceFunction
from sage.errors import ConfigError, OperatorError


class Fetch(MapFunction):
    """Stands for a client: opened and closed on the loop on which it works."""

    def __init__(self, delay: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delay = delay
        self.events: list[str] = []
        self.active = self.most = 0

    async def open(self) -> None:  # type: ignore[override]
        self.loop = asyncio.get_running_loop()
        self.events.append("open")

    async def execute(self, data: int) -> int:
        assert asyncio.get_running_loop() is self.loop
        self.active += 1
        self.most = max(self.most, self.active)
        await asyncio.sleep(self.delay * (1 + data % 3))
        self.active -= 1
        return data

    async def close(self) -> None:  # type: ignore[override]
        assert asyncio.get_running_loop() is self.loop
        self.events.append("close")


def test_in_flight_together(env: LocalEnvironment) -> None:
    """As many records as allowed are in flight, no more, and results keep their order."""
    fetch = Fetch()
    out: list[int] = []
    env.from_collection(range(200)).map(fetch, concurrency=20).map(lambda x: x).sink(out.append)
    result = env.submit(autostop=True)
    assert out == list(range(200))
    assert 1 < fetch.most <= 20
    assert fetch.events == ["open", "close"]
    assert result.operator("Fetch").records_out == 200


def test_unordered(env: LocalEnvironment) -> None:
    """Without order a slow record holds nothing back."""
    out: list[int] = []

    async def wait(record: int) -> int:
        await asyncio.sleep(0.2 if record == 0 else 0)
        return record

    env.from_collection(range(50)).map(wait, ordered=False, concurrency=50).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == list(range(50))
    if env.config.workers == "thread":
        assert out[-1] == 0


def test_calls_that_never_wait(env: LocalEnvironment) -> None:
    """A coroutine that returns at once, as from a cache, keeps the records moving as well."""

    async def cached(record: int) -> int:
        return record

    out: list[int] = []
    env.from_collection(range(3000)).map(cached, concurrency=8).map(lambda x: x).sink(out.append)
    env.submit(autostop=True)
    assert out == list(range(3000))


@pytest.mark.parametrize("parallelism", [1, 3])
def test_nothing_is_lost(env: LocalEnvironment, parallelism: int) -> None:
    """Every record comes out once, with several replicas too."""

    async def pass_on(record: int) -> int:
        await asyncio.sleep(0)
        return record

    out: list[int] = []
    env.from_collection(range(5000)).map(
        pass_on, parallelism=parallelism, concurrency=7, ordered=False
    ).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == list(range(5000))


def test_all_kinds(env: LocalEnvironment) -> None:
    """filter, flatmap and sink may be async as well; None and False are dropped and counted."""

    async def even(record: int) -> bool:
        return record % 2 == 0

    async def twice(record: int) -> list[int]:
        return [record, record]

    async def drop_four(record: int) -> int | None:
        return None if record == 4 else record

    out: list[int] = []

    async def sink(record: int) -> None:
        out.append(record)

    env.from_collection(range(6)).filter(even).flatmap(twice).map(drop_four).sink(sink)
    result = env.submit(autostop=True)
    assert out == [0, 0, 2, 2]
    assert [report.dropped for report in result.operators] == [0, 3, 0, 2, 0]
    assert result.abandoned == 0


def test_error_names_the_record(env: LocalEnvironment) -> None:
    """The job stops with the record; what is in flight is cancelled; close is awaited."""
    fetch = Fetch(name="fetch")

    async def check(record: int) -> int:
        if record == 30:
            raise ValueError("no good")
        return record

    out: list[int] = []
    stream = env.from_collection(range(100)).map(fetch, concurrency=8)
    stream.map(check, name="check", concurrency=8).sink(out.append)
    with pytest.raises(OperatorError, match="'check' failed on record 30: ValueError"):
        env.submit(autostop=True)
    assert fetch.events == ["open", "close"]
    assert out == list(range(len(out)))
    assert len(out) <= 30


def test_retry_and_dead_letters(env: LocalEnvironment) -> None:
    """retry and on_error hold for async operators."""
    tried: list[int] = []

    async def flaky(record: int) -> int:
        tried.append(record)
        if record == 3:
            raise ConnectionError
        return record

    env.from_collection(range(6)).map(
        flaky, on_error="dead_letter", retry=RetryPolicy(attempts=2, first_delay=0.001)
    ).sink(lambda _: None)
    result = env.submit(autostop=True)
    assert [letter.record for letter in result.dead_letters] == [3]
    assert tried.count(3) == 2
    report = result.operator("flaky")
    assert (report.records_out, report.failed, report.dropped, report.retried) == (5, 1, 0, 1)


def test_cancel_ends_what_is_in_flight() -> None:
    """cancel() does not wait for a call that hangs."""
    started = threading.Event()

    class Endless(SourceFunction):
        def execute(self) -> int:
            return 1

    async def hang(record: int) -> None:
        started.set()
        await asyncio.sleep(3600)

    env = LocalEnvironment()
    env.from_source(Endless).map(hang).sink(lambda _: None)
    job = env.submit()
    assert started.wait(20)
    begun = time.monotonic()
    assert job.cancel().status is JobStatus.CANCELLED
    assert time.monotonic() - begun < 10


def test_slow_sink_does_not_stop_the_loop() -> None:
    """While the next stage is full, calls in flight go on."""
    env = LocalEnvironment(config={"channel_capacity": 2, "batch_size": 2})
    ticks: list[int] = []

    async def call(record: int) -> int:
        for _ in range(5):
            await asyncio.sleep(0.001)
        ticks.append(record)
        return record

    out: list[int] = []

    def slow(record: int) -> None:
        time.sleep(0.002)
        out.append(record)

    env.from_collection(range(60)).map(call, concurrency=10).map(lambda x: x, parallelism=2).sink(
        slow
    )
    env.submit(autostop=True)
    assert sorted(out) == list(range(60))


def test_async_open_needs_async_execute(env: LocalEnvironment) -> None:
    """An async open() without an async execute() has no loop to run on, and says so."""

    class Half(MapFunction):
        async def open(self) -> None:  # type: ignore[override]
            pass

        def execute(self, data: int) -> int:
            return data

    env.from_collection([1]).map(Half()).sink(lambda _: None)
    with pytest.raises(OperatorError, match="only an operator with `async def execute`"):
        env.submit(autostop=True)


def test_concurrency_is_a_count() -> None:
    """Concurrency is a whole number from 1."""
    with pytest.raises(ConfigError, match="concurrency is 0"):
        LocalEnvironment().from_collection([1]).map(str, concurrency=0)


def test_timers_behind_an_async_operator() -> None:
    """A batch in the same stage is emitted by its timer while no record comes."""
    arrived = threading.Event()
    out: list[list[int]] = []

    def source() -> Iterator[int]:
        yield 1
        assert arrived.wait(20), "the timer did not fire"

    def sink(batch: list[int]) -> None:
        out.append(batch)
        arrived.set()

    async def same(record: int) -> int:
        return record

    env = LocalEnvironment()
    env.from_source(source).map(same).batch(10, timeout=0.05).sink(sink)
    env.submit(autostop=True)
    assert out == [[1]]


def test_the_job_is_cancelled_after_its_input_has_ended() -> None:
    """An async operator that is done already is no obstacle to a job that is cancelled."""
    fetch = Fetch()

    def endless() -> Iterator[None]:
        while True:
            yield None

    env = LocalEnvironment()
    env.from_collection([1]).map(fetch).sink(lambda record: None)
    env.from_source(endless).sink(lambda record: None)
    job = env.submit()
    # The thread has ended, and its event loop is closed.
    while "close" not in fetch.events or _runs("Fetch"):
        assert not job.poll(0.001)
    assert job.cancel(10).status is JobStatus.CANCELLED


def _runs(stage: str) -> bool:
    return any(thread.name.startswith(stage) for thread in threading.enumerate())
