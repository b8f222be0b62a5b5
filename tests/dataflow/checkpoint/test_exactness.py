"""A checkpoint has each record once: before its barrier or after it, never both, never neither."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sage.dataflow import (
    JobHandle,
    JobStatus,
    LocalEnvironment,
    MapFunction,
    SinkFunction,
    SourceFunction,
    TumblingWindows,
)
from sage.dataflow.workers import Workers

TOTAL = 10_000


class Numbers(SourceFunction):
    """Gives numbers until ``limit``, and ends there if that is ``total``."""

    def __init__(self, limit: int = TOTAL, total: int = TOTAL) -> None:
        super().__init__()
        self.limit, self.total, self.next = limit, total, 0

    def offset(self) -> int:
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> int | None:
        if self.next >= self.total:
            raise StopIteration
        if self.next >= self.limit:
            return None
        self.next += 1
        return self.next - 1


class Once(SinkFunction):
    """Counts how often each record came, as far as the checkpoint goes on from."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Any] = Counter()

    def execute(self, data: Any) -> None:
        self.seen[data] += 1

    def snapshot(self) -> Counter[Any]:
        return self.seen.copy()

    def restore(self, state: Counter[Any]) -> None:
        self.seen = state


class Summing(MapFunction):
    """Adds up what it has seen, with many records in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    async def execute(self, data: int) -> int:
        await asyncio.sleep(0.0005 * (data % 5))
        self.total += data
        return data

    def snapshot(self) -> int:
        return self.total

    def restore(self, state: int) -> None:
        self.total = state


class Holding(MapFunction):
    """Holds records, several in flight, until a flush."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    async def execute(self, data: int) -> tuple[int, ...] | None:
        await asyncio.sleep(0.0005 * (data % 5))
        self.held.append(data)
        return self.flush() if len(self.held) >= 3 else None

    def flush(self) -> tuple[int, ...] | None:
        held, self.held = tuple(self.held), []
        return held or None


def environment(folder: Path, interval: float = 0.01, **config: Any) -> LocalEnvironment:
    """Make one in which a barrier has not long to wait behind records."""
    small = {"batch_size": 16, "channel_capacity": 64}
    checkpoint = {"dir": folder, "interval": interval}
    return LocalEnvironment("job", config={"checkpoint": checkpoint, **small, **config})


def cancel_after(job: JobHandle, checkpoints: int, folder: Path) -> None:
    """Cancel a job while records are on their way, some checkpoints being written."""
    while not (folder / f"checkpoint-{checkpoints:08d}.sage").exists():
        assert not job.poll(0.001)
    assert job.cancel().status is JobStatus.CANCELLED


@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_operator_with_state_of_its_own(ordered: bool, tmp_path: Path) -> None:
    """What it takes after a barrier is no part of the checkpoint: not in flight, nor in its state.

    The job is cancelled, so that it goes on from a barrier with records behind it.
    """
    env = environment(tmp_path)
    first = Numbers()
    options = {"ordered": ordered, "concurrency": 16}
    env.from_source(first, name="numbers").map(Summing(), **options).sink(Once(), name="sink")
    job = env.submit()
    cancel_after(job, 3, tmp_path)
    env = environment(tmp_path)
    summing, sink = Summing(), Once()
    env.from_source(Numbers(), name="numbers").map(summing, **options).sink(sink, name="sink")
    result = env.submit(autostop=True, resume="latest")
    assert summing.total == sum(range(TOTAL))
    assert sink.seen == Counter(range(TOTAL))
    assert result.operator("Summing").records_in == TOTAL


@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_operator_that_is_flushed_at_a_barrier(ordered: bool, tmp_path: Path) -> None:
    """It emits what came before the barrier, and holds nothing that came after it."""
    env = environment(tmp_path)
    first = Numbers()
    options = {"ordered": ordered, "concurrency": 16}
    held = env.from_source(first, name="numbers").map(Holding(), **options)
    held.flatmap(lambda records: records, name="each").sink(Once(), name="sink")
    job = env.submit()
    cancel_after(job, 3, tmp_path)
    env = environment(tmp_path)
    sink = Once()
    held = env.from_source(Numbers(), name="numbers").map(Holding(), **options)
    held.flatmap(lambda records: records, name="each").sink(sink, name="sink")
    env.submit(autostop=True, resume="latest")
    assert sink.seen == Counter(range(TOTAL))


class Pairs(MapFunction):
    """Holds a record until the next one comes, or a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    def execute(self, data: int) -> tuple[int, ...] | None:
        self.held.append(data)
        return self.flush() if len(self.held) == 2 else None

    def flush(self) -> tuple[int, ...] | None:
        held, self.held = tuple(self.held), []
        return held or None


@pytest.mark.parametrize("workers", ["inline", "thread"])
def test_what_is_flushed_at_a_barrier_into_a_loop(workers: str, tmp_path: Path) -> None:
    """It is before the barrier, and so is what comes back of it, wherever the loop was made."""
    total = 101
    seen: Counter[tuple[int, int]] = Counter()

    def run(limit: int, resume: str | None) -> None:
        env = environment(tmp_path, 1000, workers=workers, batch_size=1, parallelism=1)
        back = env.from_future("back")
        numbers = Stopping(limit, env)
        pairs = env.from_source(numbers, name="numbers").map(Pairs(), name="pairs")
        singles = pairs.flatmap(lambda pair: [(number, 2) for number in pair], name="each")
        turned = singles.union(back).map(lambda one: (one[0], one[1] - 1), name="turn")
        turned.filter(lambda one: one[1] > 0, name="again").fill_future(back)
        turned.sink(lambda one: seen.update([one]), name="sink")
        if workers == "inline":
            env.submit(autostop=True, resume=resume)
            return
        job = env.submit(resume=resume)
        while numbers.next < limit:
            assert not job.poll(0.001)
        if limit < TOTAL:
            job.stop()
        job.wait()

    run(total, None)
    run(TOTAL, "latest")
    assert seen == Counter((number, turns) for number in range(TOTAL) for turns in (0, 1))


class Stopping(Numbers):
    """Stops a job that runs in this thread when it is at its limit."""

    def __init__(self, limit: int, env: LocalEnvironment) -> None:
        super().__init__(limit)
        self.env = env

    def execute(self) -> int | None:
        number = super().execute()
        if number is None and self.env.config.workers is Workers.INLINE:
            assert self.env.last_job is not None
            self.env.last_job._runtime.stop()
        return number


@pytest.mark.parametrize("workers", ["inline", "thread"])
def test_records_in_flight_are_before_the_watermarks_that_followed_them(
    workers: str, tmp_path: Path
) -> None:
    """Event time is told anew after a restart, and not before the records that it followed."""
    total = 500
    ends = [30]
    stuck = [True]

    async def through(record: int) -> int:
        while stuck[0]:  # noqa: ASYNC110 - it is let go by another thread, or never
            await asyncio.sleep(0.001)
        return record

    def build(env: LocalEnvironment, out: list[Any]) -> Numbers:
        numbers = Numbers(ends[0], total)
        (
            env.from_source(numbers, name="numbers")
            .event_time(lambda number: number, name="time")
            .map(through, name="through", concurrency=64)
            .map(through, name="again", concurrency=64)
            .keyby(lambda number: 0)
            .window(TumblingWindows(10), timestamp=lambda number: number)
            .apply(len, name="window")
            .sink(lambda result: out.append(tuple(result)), name="sink")
        )
        return numbers

    env = environment(tmp_path, 1000)
    numbers = build(env, [])
    job = env.submit()
    while numbers.next < 30 or job.metrics[2].records_in < 30:
        assert not job.poll(0.001)
    job.stop()
    stuck[0], ends[0] = False, total
    out: list[Any] = []
    env = environment(tmp_path, 1000, workers=workers)
    build(env, out)
    result = env.submit(autostop=True, resume="latest")
    assert result.operator("window").metrics.get("late", 0) == 0
    assert out == [(0, start, start + 10, 10, 0) for start in range(0, total, 10)]
