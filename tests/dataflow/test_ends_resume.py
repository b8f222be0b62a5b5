"""Kafka, files and lists at the ends of jobs that fail and go on: each record is there once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_broker import Broker

from sage.dataflow import LocalEnvironment, SourceFunction, Stream

pq = pytest.importorskip("pyarrow.parquet")

TOTAL = 6000


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


class Faulty:
    """Fails at a record, once."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.failed = False

    def __call__(self, number: int) -> dict[str, int]:
        if number == self.at and not self.failed:
            self.failed = True
            raise OSError("pulled")
        return {"n": number}


def written_checkpoints() -> int:
    return len([path for path in Path("ck").iterdir() if path.name != "lock"])


class Numbers(SourceFunction):
    """Gives the numbers below ``limit``; it ends only at ``TOTAL``.

    At number 3,000 it waits until two checkpoints have been written.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.next = 0
        self.idle = False

    def offset(self) -> int:
        return self.next

    def seek(self, offset: int) -> None:
        self.next = offset

    def execute(self) -> int | None:
        if self.next >= TOTAL:
            raise StopIteration
        # So that barriers come between records.
        self.idle = not self.idle and self.next % 50 == 0
        if self.idle or self.next >= self.limit:
            return None
        if self.next == 3000 and written_checkpoints() < 2:
            return None
        self.next += 1
        return self.next - 1


def environment(*, restart: bool, parallelism: int = 1, workers: str = "thread") -> Any:
    config: dict[str, Any] = {
        "checkpoint": {"dir": "ck", "interval": 0.05, "keep": 3},
        "workers": workers,
        "parallelism": parallelism,
    }
    if restart:
        config["restart"] = {"strategy": "fixed_delay", "attempts": 2, "delay": 0}
    return LocalEnvironment("ends", config=config)


def read_lines(pattern: str) -> list[int]:
    return [
        json.loads(line)["n"]
        for path in Path().glob(pattern)
        for line in path.read_text().splitlines()
    ]


def read_parquet(pattern: str) -> list[int]:
    return [
        n for path in sorted(Path().glob(pattern)) for n in pq.read_table(path)["n"].to_pylist()
    ]


LISTED: list[Any] = []

SINKS: dict[str, tuple[Callable[[Stream, int], Any], Callable[[], list[int]]]] = {
    "jsonl": (
        lambda stream, replicas: stream.sink("out.jsonl", parallelism=replicas),
        lambda: read_lines("out*.jsonl"),
    ),
    "append": (
        lambda stream, replicas: stream.sink("out.jsonl", append=True, parallelism=replicas),
        lambda: read_lines("out*.jsonl"),
    ),
    "parquet": (
        lambda stream, replicas: stream.sink("out.parquet"),
        lambda: read_parquet("out.parquet"),
    ),
    "parts": (
        lambda stream, replicas: stream.sink("out", format="parquet", parallelism=replicas),
        lambda: read_parquet("out/*.parquet"),
    ),
    "list": (
        lambda stream, replicas: stream.sink(LISTED),
        lambda: [record["n"] for record in LISTED],
    ),
}


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("workers", ["thread", "inline"])
def test_each_record_is_there_once_after_a_restart(kind: str, workers: str) -> None:
    """What the failed attempt wrote after its last checkpoint is taken back."""
    LISTED.clear()
    faulty = Faulty(at=4000)
    write, read = SINKS[kind]
    env = environment(restart=True, workers=workers)
    write(env.from_source(Numbers, TOTAL).map(faulty), 1)
    result = env.submit(autostop=True)
    assert faulty.failed
    assert result.restarts == 1
    assert read() == list(range(TOTAL))


@pytest.mark.parametrize("kind", ["jsonl", "append", "parts"])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (1, 3), (3, 1), (2, 3)])
def test_a_job_goes_on_with_another_parallelism(kind: str, before: int, after: int) -> None:
    """Its files together hold every record once."""
    write, read = SINKS[kind]
    env = environment(restart=False)
    write(env.from_source(Numbers, 3000).map(as_row, parallelism=before), before)
    job = env.submit()
    deadline = time.monotonic() + 20
    while job.metrics[-1].records_out < 3000:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    job.stop(drain=True)
    env = environment(restart=False)
    write(env.from_source(Numbers, TOTAL).map(as_row, parallelism=after), after)
    env.submit(autostop=True, resume="latest")
    assert sorted(read()) == list(range(TOTAL))
    assert not list(Path().glob("**/*.part"))


def as_row(number: int) -> dict[str, int]:
    return {"n": number}


@pytest.mark.parametrize("parallelism", [1, 2])
def test_kafka_with_a_failure_between(broker: Broker, parallelism: int) -> None:
    """Every record of the topic is in the file once, though some were read twice."""
    numbers = [str(number).encode() for number in range(TOTAL)]
    topic = broker.topic(*numbers[:3000])
    faulty = Faulty(at=4001)
    env = environment(restart=True)
    records = env.from_kafka_source(broker.servers, topic, parallelism=parallelism)
    records.map(faulty, name="faulty").sink("out.jsonl", append=True, name="out")
    job = env.submit()
    wait_until(lambda: job.metrics[-1].records_out == 3000 and written_checkpoints() >= 2)
    broker.write(topic, *numbers[3000:])
    wait_until(lambda: faulty.failed and job.metrics[-1].records_out == TOTAL)
    result = job.stop(drain=True)
    assert sorted(read_lines("out.jsonl")) == list(range(TOTAL))
    assert result.operator("kafka").records_out == TOTAL


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (3, 2)])
def test_an_unbounded_kafka_job_goes_on(broker: Broker, before: int, after: int) -> None:
    """With what came meanwhile, and with another number of replicas."""
    topic = broker.numbers(1000)
    env = environment(restart=False)
    out: list[int] = []
    env.from_kafka_source(broker.servers, topic, parallelism=before).sink(out)
    job = env.submit()
    wait_until(lambda: len(out) >= 500)
    job.stop(drain=True)
    broker.write(topic, *(str(number).encode() for number in range(1000, 1200)))
    env = environment(restart=False)
    rest: list[int] = []
    env.from_kafka_source(broker.servers, topic, parallelism=after).sink(rest)
    job = env.submit(resume="latest")
    wait_until(lambda: len(out) + len(rest) >= 1200)
    job.stop(drain=True)
    assert sorted(out + rest) == list(range(1200))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
