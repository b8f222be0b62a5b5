"""A job that was stopped goes on from its last checkpoint as if it had never been."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.dataflow import (
    BatchFunction,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    RuntimeContext,
    SourceFunction,
    Stream,
    TumblingWindows,
)
from sage.errors import CheckpointError, ConfigError, GraphChangedError, GraphError, OperatorError

TOTAL = 400
FIRST_RUN = 150


class Numbers(SourceFunction):
    """Gives the numbers below ``limit``; it ends only at ``TOTAL``.

    At number 200 it waits until checkpoints have been begun three times: two of them are written.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.next = 0
        self.checkpoints = 0

    def offset(self) -> int:
        self.checkpoints += 1
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> int | None:
        if self.next >= TOTAL:
            raise StopIteration
        if self.next >= self.limit or (self.next == 200 and self.checkpoints < 3):
            return None
        self.next += 1
        return self.next - 1


class Pairs(MapFunction):
    """Gathers pairs in a list of its own, which it emits at the end or a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    def execute(self, data: int) -> tuple[int, ...] | None:
        self.held.append(data)
        return self.flush() if len(self.held) == 2 else None

    def flush(self) -> tuple[int, ...] | None:
        held, self.held = tuple(self.held), []
        return held or None


class Running(MapFunction):
    """Adds up what it has seen; its state is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def execute(self, data: int) -> int:
        self.total += data
        return self.total

    def snapshot(self) -> int:
        return self.total

    def restore(self, state: int) -> None:
        self.total = state


class Reminder(ProcessFunction):
    """Says of each key, when time has come to the next multiple of 40, how often it came."""

    def open(self, context: RuntimeContext) -> None:
        self.seen = context.state.value("seen", 0)

    def execute(self, data: int) -> None:
        assert self.context is not None
        self.seen.set(self.seen.get() + 1)
        self.context.timer((data // 40 + 1) * 40)

    def on_timer(self, at: float) -> list[tuple[Any, float, int]]:
        assert self.context is not None
        return [(self.context.key, at, self.seen.get())]


async def negative(record: int) -> int:
    await asyncio.sleep(0)
    return -record


def by_seven(record: int) -> int:
    return record % 7


def identity(record: Any) -> Any:
    return record


def add(a: int, b: int) -> int:
    return a + b


def loop(stream: Stream, parallelism: int) -> Stream:
    back = stream.environment.from_future("back")
    halves = stream.union(back).map(lambda record: record // 2, parallelism=parallelism)
    halves.filter(lambda record: record > 0).fill_future(back)
    return halves


Build = Callable[[Stream, int], Stream]

PIPELINES: dict[str, Build] = {
    "map": lambda s, n: s.map(identity, parallelism=n),
    "batch": lambda s, n: s.batch(7, parallelism=n).flatmap(identity),
    "batch, timeout": lambda s, n: s.batch(7, timeout=30, parallelism=n).flatmap(identity),
    "reduce": lambda s, n: s.keyby(by_seven).reduce(add, emit="end", parallelism=n),
    "updates": lambda s, n: s.keyby(by_seven).reduce(add, parallelism=n),
    "window": lambda s, n: (
        s.keyby(by_seven).window(TumblingWindows(30), timestamp=float).apply(sum, parallelism=n)
    ),
    "timers": lambda s, n: s.keyby(by_seven).process(Reminder, timestamp=float, parallelism=n),
    "async": lambda s, n: s.map(negative, parallelism=n),
    "async, unordered": lambda s, n: s.map(negative, ordered=False, parallelism=n),
    "loop": loop,
    "join": lambda s, n: (
        s.map(identity)
        .connect(s.filter(lambda r: r % 3 == 0))
        .keyby(identity, identity)
        .join(lambda a, b: (a, b), parallelism=n)
    ),
    "union": lambda s, n: s.map(identity, parallelism=n).union(s.map(str)),
}


def environment(folder: Path, workers: str = "thread") -> LocalEnvironment:
    config = {"checkpoint": {"dir": folder, "interval": 0.02}, "workers": workers}
    return LocalEnvironment("job", config=config)


def run(build: Build, parallelism: int, folder: Path, workers: str) -> list[Any]:
    """Run a pipeline in two goes and return what came out of both."""
    out: list[Any] = []
    env = environment(folder, workers)
    numbers = Numbers(FIRST_RUN)
    build(env.from_source(numbers, name="numbers"), parallelism).sink(out.append)
    job = env.submit()
    while numbers.next < FIRST_RUN:
        assert not job.poll(0.001)
    first = job.stop(timeout=20)
    assert first.checkpoints >= 1
    env = environment(folder, workers)
    build(env.from_source(Numbers(TOTAL), name="numbers"), parallelism).sink(out.append)
    second = env.submit(autostop=True, resume="latest")
    assert second.resumed_from == first.checkpoints
    assert second.records_in == TOTAL
    assert second.abandoned == 0
    return out


def undisturbed(build: Build, parallelism: int) -> list[Any]:
    out: list[Any] = []
    env = LocalEnvironment("job")
    build(env.from_collection(range(TOTAL)).map(identity, name="one by one"), parallelism).sink(
        out.append
    )
    env.submit(autostop=True)
    return out


def multiset(records: list[Any]) -> list[str]:
    return sorted(map(repr, records))


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("name", PIPELINES)
def test_stop_and_resume(name: str, parallelism: int, tmp_path: Path) -> None:
    """Every operator gives over both runs what it gives in one: nothing lost, nothing twice."""
    build = PIPELINES[name]
    got = run(build, parallelism, tmp_path, "thread")
    assert multiset(got) == multiset(undisturbed(build, parallelism))


@pytest.mark.parametrize("name", ["map", "reduce", "window", "timers"])
def test_stop_and_resume_in_processes(name: str, tmp_path: Path) -> None:
    """State in worker processes is saved and taken over like any other."""
    got = run(PIPELINES[name], 2, tmp_path, "process")
    assert multiset(got) == multiset(undisturbed(PIPELINES[name], 2))


def test_state_of_the_users_own(tmp_path: Path) -> None:
    """What snapshot() returned, restore() is given; what has only flush() is flushed before."""

    def build(stream: Stream, _: int) -> Stream:
        return stream.map(Running)

    assert run(build, 1, tmp_path / "own", "thread") == undisturbed(build, 1)

    def pairs(stream: Stream, _: int) -> Stream:
        return stream.map(Pairs).flatmap(identity)

    assert run(pairs, 1, tmp_path / "flushed", "thread") == list(range(TOTAL))


class FailsOnce(MapFunction):
    """Raises on one record as long as a file is not there, and makes the file."""

    def __init__(self, at: int, marker: Path) -> None:
        super().__init__()
        self.at = at
        self.marker = marker

    def execute(self, data: int) -> int:
        if data == self.at and not self.marker.exists():
            self.marker.touch()
            raise ValueError("not yet")
        return data


class Distinct:
    """A sink that takes each record once, however often it comes: an idempotent one."""

    def __init__(self) -> None:
        self.records: set[Any] = set()

    def __call__(self, record: Any) -> None:
        self.records.add(record)


@pytest.mark.parametrize("workers", ["thread", "inline"])
@pytest.mark.parametrize("name", ["map", "reduce", "window", "timers", "async", "loop", "union"])
def test_failure_and_resume(name: str, workers: str, tmp_path: Path) -> None:
    """After a failure a job goes on from the last checkpoint; state is as if it had not failed."""
    sink = Distinct()
    for _ in range(2):
        config = {"checkpoint": {"dir": tmp_path / "c", "interval": 0.01}, "workers": workers}
        env = LocalEnvironment("job", config=config)
        numbers = env.from_source(Numbers(TOTAL), name="numbers")
        failing = numbers.map(FailsOnce(250, tmp_path / "failed"), name="fails")
        PIPELINES[name](failing, 2).sink(sink)
        job = None
        with contextlib.suppress(OperatorError):
            job = env.submit(autostop=True, resume="latest")
    assert job is not None
    assert job.resumed_from is not None
    assert job.records_in == TOTAL
    assert job.abandoned == 0
    assert multiset(list(sink.records)) == multiset(list(set(undisturbed(PIPELINES[name], 2))))


@pytest.mark.parametrize("workers", ["thread", "inline"])
def test_restart(workers: str, tmp_path: Path) -> None:
    """With a restart strategy the job does that by itself, and says how often."""
    out: list[Any] = []
    config = {
        "checkpoint": {"dir": tmp_path / "c", "interval": 0.01},
        "restart": {"strategy": "fixed_delay", "attempts": 1, "delay": 0.0},
        "workers": workers,
    }
    env = LocalEnvironment("job", config=config)
    numbers = env.from_source(Numbers, TOTAL, name="numbers")
    failing = numbers.map(FailsOnce(250, tmp_path / "failed"))
    failing.keyby(by_seven).reduce(add, emit="end", parallelism=2).sink(out.append)
    result = env.submit(autostop=True)
    assert result.restarts == 1
    assert result.records_in == TOTAL
    assert sorted(out) == sorted(undisturbed(PIPELINES["reduce"], 1))


def test_restart_from_the_beginning(tmp_path: Path) -> None:
    """Without checkpoints a job starts again from its beginning."""
    out: list[int] = []
    restart = {"strategy": "fixed_delay", "attempts": 1, "delay": 0.0}
    env = LocalEnvironment("job", config={"restart": restart})
    collection = env.from_collection(range(100))
    collection.map(FailsOnce(50, tmp_path / "failed")).sink(out.append)
    result = env.submit(autostop=True)
    assert (result.restarts, result.records_in, result.records_out) == (1, 100, 100)
    assert out == [*range(50), *range(100)]


def test_restarts_give_up(tmp_path: Path) -> None:
    """When the strategy has no attempt left, the job fails as it would have at first."""

    def fails(record: int) -> int:
        raise ValueError(f"no {record}")

    restart = {"strategy": "fixed_delay", "attempts": 2, "delay": 0.0}
    env = LocalEnvironment("job", config={"restart": restart})
    env.from_collection([1]).map(fails).sink(print)
    with pytest.raises(OperatorError, match="no 1"):
        env.submit(autostop=True)
    assert env.last_job is not None
    assert env.last_job.result is not None
    assert env.last_job.result.restarts == 2


def test_a_finished_job_has_nothing_left_to_do(tmp_path: Path) -> None:
    """Resuming a job that has ended does nothing, and its counts stay."""
    out: list[int] = []
    for resume, parallelism in ((None, 2), ("latest", 2), ("latest", 3)):
        env = environment(tmp_path)
        batches = env.from_collection(range(50)).batch(3)
        batches.flatmap(identity, parallelism=parallelism).sink(out.append)
        result = env.submit(autostop=True, resume=resume)  # type: ignore[arg-type]
        assert (result.records_in, result.records_out) == (50, 50)
    assert sorted(out) == list(range(50))


@pytest.mark.parametrize(
    ("source", "method"),
    [
        (list(range(50)), "from_collection"),
        (dict.fromkeys(range(50)), "from_collection"),
        (lambda: iter(range(50)), "from_source"),
        (
            type(
                "B",
                (BatchFunction,),
                {
                    "execute": lambda self: next(self.left, None),
                    "open": lambda self: setattr(self, "left", iter(range(50))),
                },
            ),
            "from_batch",
        ),
    ],
    ids=["list", "dict", "function", "batch function"],
)
def test_sources_without_offsets_are_passed_over(source: Any, method: str, tmp_path: Path) -> None:
    """What gives the same records again is read from its beginning, up to where it was."""
    taken: list[int] = []
    failed: list[int] = []

    def sink(record: int) -> None:
        if record == 30 and not failed:
            failed.append(record)
            raise ValueError("stop")
        # So slow that checkpoints are taken on the way, and so near that the source is not ahead.
        time.sleep(0.003)
        taken.append(record)

    for resume in (None, "latest"):
        checkpoint = {"dir": tmp_path, "interval": 0.01}
        config = {"checkpoint": checkpoint, "batch_size": 2, "channel_capacity": 2}
        env = LocalEnvironment("job", config=config)
        getattr(env, method)(source, name="source").sink(sink)
        with contextlib.suppress(OperatorError):
            env.submit(autostop=True, resume=resume)  # type: ignore[arg-type]
    assert failed
    assert env.last_job is not None
    assert env.last_job.result is not None
    assert env.last_job.result.resumed_from is not None
    assert len(taken) < 80
    assert sorted(set(taken)) == list(range(50))


def stopped(folder: Path, build: Build, parallelism: int) -> None:
    env = environment(folder)
    numbers = Numbers(FIRST_RUN)
    build(env.from_source(numbers, name="numbers"), parallelism).sink(lambda _: None, name="sink")
    job = env.submit()
    while numbers.next < FIRST_RUN:
        assert not job.poll(0.001)
    job.stop(timeout=20)


@pytest.mark.parametrize("parallelism", [1, 3, 4])
@pytest.mark.parametrize("name", ["updates", "reduce", "window", "timers", "batch", "async"])
def test_another_parallelism(name: str, parallelism: int, tmp_path: Path) -> None:
    """Keyed state, timers and what is held go to the replicas that there are now."""
    out: list[Any] = []
    env = environment(tmp_path)
    numbers = Numbers(FIRST_RUN)
    PIPELINES[name](env.from_source(numbers, name="numbers"), 2).sink(out.append)
    job = env.submit()
    while numbers.next < FIRST_RUN:
        assert not job.poll(0.001)
    job.stop(timeout=20)
    env = environment(tmp_path)
    PIPELINES[name](env.from_source(Numbers(TOTAL), name="numbers"), parallelism).sink(out.append)
    result = env.submit(autostop=True, resume="latest")
    assert result.records_in == TOTAL
    assert multiset(out) == multiset(undisturbed(PIPELINES[name], 1))


def test_state_that_cannot_be_divided(tmp_path: Path) -> None:
    """Own state of another parallelism is refused, naming the operator and both numbers."""
    stopped(tmp_path, lambda s, n: s.map(Running, parallelism=n), 2)
    env = environment(tmp_path)
    env.from_source(Numbers(TOTAL), name="numbers").map(Running, parallelism=3).sink(
        lambda _: None, name="sink"
    )
    message = "'Running' had parallelism 2 .* has 3 now, .*redistribute"
    with pytest.raises(CheckpointError, match=message):
        env.submit(autostop=True, resume="latest")


def test_another_graph_is_refused(tmp_path: Path) -> None:
    """Each difference is named, and nothing has run."""
    stopped(tmp_path, PIPELINES["map"], 1)
    env = environment(tmp_path)
    numbers = Numbers(TOTAL)
    env.from_source(numbers, name="numbers").filter(bool, name="identity").sink(print, name="sink")
    with pytest.raises(GraphChangedError, match="'identity' was a map and is a filter"):
        env.submit(autostop=True, resume="latest")
    assert numbers.next == 0


def test_a_source_that_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    """An unbounded source must say where it is; the message says how."""

    class Live(SourceFunction):
        def execute(self) -> int:
            return 1

    env = environment(tmp_path)
    env.from_source(Live).sink(print)
    with pytest.raises(GraphError, match=r"'Live' cannot be read again .*offset\(\).*seek"):
        env.submit()

    class Bounded(BatchFunction):
        def execute(self) -> int:
            return 1

    env = LocalEnvironment("job", config={"restart": "fixed_delay"})
    env.from_batch(Bounded()).sink(print)
    with pytest.raises(GraphError, match="is an instance, which would go on"):
        env.submit()
    env = LocalEnvironment("job", config={"restart": "fixed_delay"})
    env.from_source(iter([1])).sink(print)
    with pytest.raises(GraphError, match="an iterator, which cannot be read again"):
        env.submit()


def test_resume_needs_a_folder() -> None:
    """The message says where to name it; a wrong word is refused."""
    env = LocalEnvironment("job")
    env.from_collection([1]).sink(print)
    with pytest.raises(ConfigError, match="needs a folder of checkpoints"):
        env.submit(resume="latest")
    with pytest.raises(ConfigError, match="resume='last'"):
        env.submit(resume="last")  # type: ignore[call-overload]


def test_state_that_cannot_be_pickled(tmp_path: Path) -> None:
    """The job fails with the operator's name: its state would be lost."""

    class Holds(MapFunction):
        def execute(self, data: int) -> int:
            return data

        def snapshot(self) -> Any:
            return lambda: None

    env = environment(tmp_path)
    env.from_source(Numbers(TOTAL)).map(Holds).sink(lambda _: None)
    with pytest.raises(OperatorError, match="'Holds'"):
        env.submit(autostop=True)
