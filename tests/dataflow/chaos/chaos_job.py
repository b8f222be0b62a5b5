"""The job that is killed: numbered, keyed records through every kind of operator into a file.

``python chaos_job.py '{"folder": …}'`` runs one life of it; see `Spec`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chaos_steps import kill_at

from sage.dataflow import (
    LocalEnvironment,
    MapFunction,
    RuntimeContext,
    SinkFunction,
    SourceFunction,
    Stream,
    TumblingWindows,
)

KEYS = 98
WINDOW = 1000
# How much earlier than the latest number another one may be, where order is not kept.
MOST_DISORDER = 20_000
PATIENCE = 0.002


@dataclass(frozen=True)
class Spec:
    """One life of a job.

    Attributes:
        folder: where its files lie: ``out``, ``checkpoints``, ``release`` and the input.
        variant: "numbers", "files", "generator" or "loop".
        total: how many records there are.
        rate: most records a second.
        parallelism: of the keyed operators, and of the async one where order is not kept.
        workers: "thread" or "process".
        sink: "append" or "upsert".
        life: its number, from 0.
        step: the step of a checkpoint's commit to die at; empty for none.
        nth: which occurrence of the step that is.
        hold: how many of the last records wait until the file ``release`` is there.
    """

    folder: str
    variant: str = "numbers"
    total: int = 100_000
    rate: float = 10_000
    parallelism: int = 1
    workers: str = "thread"
    sink: str = "append"
    life: int = 0
    step: str = ""
    nth: int = 1
    hold: int = 500
    interval: float = 0.2

    @property
    def ordered(self) -> bool:
        """Whether the order of each key's records is kept all the way."""
        return self.variant in ("numbers", "generator")

    def path(self, name: str) -> Path:
        """Return the path of one of its files."""
        return Path(self.folder) / name


class Pace:
    """Lets no more than ``rate`` records a second pass, and the last ones when they may."""

    def __init__(self, spec: Spec, total: int, share: float = 1.0) -> None:
        self._release = spec.path("release")
        self._held_from = total - int(spec.hold * share)
        self._rate = spec.rate * share
        self._begun: float | None = None
        self._given = 0

    def ready(self, number: int) -> bool:
        """Say whether the next record, of that number, may go."""
        now = time.perf_counter()
        self._begun = self._begun or now
        if self._given >= (now - self._begun) * self._rate + 1:
            return False
        if number >= self._held_from and not self._release.exists():
            return False
        self._given += 1
        return True


class Numbers(SourceFunction):
    """Gives ``first``, ``first + step`` and so on, below ``total``."""

    def __init__(self, spec: Spec, first: int = 0, step: int = 1) -> None:
        super().__init__()
        self._spec, self._next, self._step = spec, first, step
        self._pace = Pace(spec, spec.total, 1 / step)

    def offset(self) -> int:
        return self._next

    def seek(self, offset: int) -> None:
        self._next = offset

    def execute(self) -> int | None:
        if self._next >= self._spec.total:
            raise StopIteration
        if not self._pace.ready(self._next):
            return None
        number = self._next
        self._next += self._step
        return number


def numbers_generator(total: int) -> Iterator[int]:
    """Give the numbers in order: a source that is replayed by passing over."""
    yield from range(total)


class Paced(MapFunction):
    """Lets numbers, or the values of lines, pass at the pace, which holds up what is behind."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._pace = Pace(spec, spec.total)

    def execute(self, data: Any) -> int:
        number: int = data["n"] if isinstance(data, dict) else data
        while not self._pace.ready(number):
            time.sleep(PATIENCE)
        return number


class Counter(MapFunction):
    """Numbers the records of each key, from 1."""

    def open(self, context: RuntimeContext) -> None:
        self._seen = context.state.value("seen", 0)

    def execute(self, data: int) -> tuple[int, int, int]:
        seen = self._seen.get() + 1
        self._seen.set(seen)
        assert self.context is not None
        return self.context.key, seen, data


class Delivered(SinkFunction):
    """A sink that knows, by its saved state, what was delivered before the last checkpoint."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._spec = spec
        self._seen = bytearray(spec.total // 8 + 1)

    def open(self, context: RuntimeContext) -> None:
        self._attempt = f"{self._spec.life}.{time.monotonic_ns()}"
        self._begin()

    def execute(self, data: tuple[int, int, int]) -> None:
        byte, bit = divmod(data[2], 8)
        again = bool(self._seen[byte] >> bit & 1)
        self._seen[byte] |= 1 << bit
        self._deliver(data, again)

    def snapshot(self) -> bytes:
        return bytes(self._seen)

    def restore(self, state: bytes) -> None:
        self._seen = bytearray(state)

    def _begin(self) -> None:
        raise AssertionError

    def _deliver(self, data: tuple[int, int, int], again: bool) -> None:
        raise AssertionError


class Append(Delivered):
    """Appends a line for each record, whole even when the process is killed."""

    def _begin(self) -> None:
        path = self._spec.path("out")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _deliver(self, data: tuple[int, int, int], again: bool) -> None:
        line = f"{self._attempt} {time.time():.6f} {data[0]} {data[1]} {data[2]} {again:d}\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)


class Upsert(Delivered):
    """Puts each record into a database under its number."""

    def _begin(self) -> None:
        self._database = sqlite3.connect(
            self._spec.path("database"), isolation_level=None, check_same_thread=False, timeout=30
        )
        # The system keeps what a killed process has written; only a loss of power would not.
        self._database.execute("PRAGMA synchronous=OFF")

    def _deliver(self, data: tuple[int, int, int], again: bool) -> None:
        key, seen, number = data
        self._database.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (n) DO UPDATE SET "
            "seen = excluded.seen, again = max(again, excluded.again)",
            (number, key, seen, again),
        )

    def close(self) -> None:
        self._database.close()


class Results(SinkFunction):
    """Appends a line for each result of the windows or of the reduce."""

    def __init__(self, spec: Spec, file: str) -> None:
        super().__init__()
        self._path = spec.path(file)

    def open(self, context: RuntimeContext) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def execute(self, data: Any) -> None:
        os.write(self._file, (json.dumps(data) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)


async def later(record: int) -> int:
    """Return the record after a while that differs."""
    await asyncio.sleep(0.001 * (record % 3))
    return record


def identity(record: Any) -> Any:
    """Return it."""
    return record


def by_key(record: int) -> int:
    """Return a record's key: all of a key come from one source."""
    return record % KEYS


def of_counted(counted: tuple[int, int, int]) -> int:
    """Return the key of a counted record."""
    return counted[0]


def by_result(result: Any) -> list[int]:
    """Return key, start, how many and their sum."""
    return [result.key, result.start, *result.value]


def number_of(counted: tuple[int, int, int]) -> int:
    """Return the record's number, which is its time too."""
    return counted[2]


def as_pair(counted: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return key, one, number."""
    return counted[0], 1, counted[2]


def add(first: tuple[int, int, int], second: tuple[int, int, int]) -> tuple[int, int, int]:
    """Count and add up two of a key."""
    return first[0], first[1] + second[1], first[2] + second[2]


def measure(records: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Return how many records a window has and the sum of their numbers."""
    return len(records), sum(record[2] for record in records)


def once_more(record: tuple[int, int]) -> bool:
    """Say whether a record goes round again."""
    return record[1] > 0


def with_turns(record: int) -> tuple[int, int]:
    """Give a record the turns that it has to go round."""
    return record, record % 3


def turn(record: tuple[int, int]) -> tuple[int, int]:
    """Take a turn."""
    return record[0], record[1] - 1


def is_done(record: tuple[int, int]) -> bool:
    """Say whether a record has gone round often enough."""
    return record[1] < 1


def first_of(record: tuple[int, int]) -> int:
    """Return the number."""
    return record[0]


def numbers_of(env: LocalEnvironment, spec: Spec) -> Stream:
    """Return the stream of the numbers, in order where the variant keeps it."""
    if spec.variant == "files":
        lines = env.from_files([spec.path("input-0.jsonl"), spec.path("input-1.jsonl")])
        return lines.map(Paced, spec, parallelism=1, workers="thread").map(
            identity, parallelism=spec.parallelism
        )
    if spec.variant == "generator":
        numbers = env.from_source(partial(numbers_generator, spec.total), name="numbers")
        return numbers.map(Paced, spec, parallelism=1, workers="thread")
    if spec.variant == "loop":
        even = env.from_source(Numbers, spec, 0, 2, name="even").map(with_turns, parallelism=1)
        odd = env.from_source(Numbers, spec, 1, 2, name="odd").map(with_turns, parallelism=1)
        back = env.from_future("back")
        turned = even.union(odd, back).map(turn, parallelism=spec.parallelism)
        turned.filter(once_more, parallelism=1).fill_future(back)
        return turned.filter(is_done, parallelism=1).map(first_of, parallelism=1)
    return env.from_source(Numbers, spec, name="numbers").map(identity, parallelism=1)


def build(env: LocalEnvironment, spec: Spec) -> None:
    """Build the pipeline."""
    n = spec.parallelism
    waits = {"parallelism": 1} if spec.ordered else {"parallelism": n, "ordered": False}
    # One replica keeps the order of what several give it; they are not abreast of each other.
    disorder = 0 if spec.ordered and n == 1 else MOST_DISORDER
    sink: Callable[..., Any] = Append if spec.sink == "append" else Upsert
    counted = (
        numbers_of(env, spec)
        .batch(16, timeout=0.02, parallelism=1)
        .flatmap(identity, parallelism=1)
        .map(later, concurrency=32, **waits)
        .keyby(by_key)
        .map(Counter, parallelism=n, name="count")
    )
    counted.keyby(of_counted, parallelism=1).sink(sink, spec, parallelism=n, name="deliver")
    (
        counted.keyby(of_counted)
        .window(TumblingWindows(WINDOW), timestamp=number_of, out_of_orderness=disorder)
        .apply(measure, parallelism=n)
        .map(by_result, parallelism=n)
        .sink(Results, spec, "windows", name="windows")
    )
    (
        counted.map(as_pair, parallelism=n, workers="thread")
        .keyby(of_counted)
        .reduce(add, emit="end", parallelism=n)
        .sink(Results, spec, "sums", name="sums")
    )


def main(given: str) -> None:
    """Run one life."""
    spec = Spec(**json.loads(given))
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stderr)
    if spec.step:
        kill_at(spec.step, spec.nth, spec.path(f"fired-{spec.life}"))
    config: dict[str, Any] = {
        "workers": spec.workers,
        # So small that a barrier has not long to wait behind records.
        "channel_capacity": 256,
        "batch_size": 64,
        "checkpoint": {
            "dir": spec.path("checkpoints"),
            "interval": spec.interval,
            "keep": 2,
        },
    }
    if spec.workers == "process":
        config["restart"] = {"strategy": "fixed_delay", "attempts": 1000, "delay": 0.05}
    env = LocalEnvironment("chaos", config=config)
    build(env, spec)
    job = env.submit(resume="latest")
    print("started", flush=True)
    result = job.wait()
    report = {
        "records_in": result.records_in,
        "counted": result.operator("count").records_in,
        "checkpoints": result.checkpoints,
        "restarts": result.restarts,
        "failed": result.failed,
        "abandoned": result.abandoned,
    }
    spec.path("report").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
