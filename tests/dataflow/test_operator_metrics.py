"""What the reports of operators say beside counts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import wait_until

from sage.dataflow import LocalEnvironment, MapFunction, OperatorReport
from sage.dataflow.profile import seconds_text
from sage.errors import OperatorError


class Echo(MapFunction):
    """Runs in a worker process."""

    def execute(self, data: bytes) -> bytes:
        return data


def test_latency_of_slow_records() -> None:
    """Every slow record is measured; its latency is what the operator took."""
    env = LocalEnvironment()
    env.from_collection(range(20)).map(lambda x: time.sleep(0.01) or x, name="slow").filter(
        lambda x: x % 2, name="odd"
    ).sink(lambda _: None, name="out")
    result = env.submit(autostop=True)
    slow = result.operator("slow").latency
    assert slow is not None
    assert slow.measured == 20
    assert 0.009 < slow.p50 <= slow.p95 <= slow.p99
    odd = result.operator("odd").latency
    assert odd is not None
    assert odd.p50 < 0.001
    assert result.operator("collection").latency is None


def test_latency_of_fast_records_is_a_sample(env: LocalEnvironment) -> None:
    """Fast records cost nothing: only some are measured, with profile=True some of each batch."""
    env.from_collection(range(200_000)).map(str, name="fast").sink(lambda _: None)
    sampled = env.submit(autostop=True).operator("fast").latency
    profiled = env.submit(autostop=True, profile=True).operator("fast").latency
    assert sampled is not None
    assert profiled is not None
    assert 0 < sampled.measured < 2_000
    assert sampled.measured < profiled.measured < 20_000


def test_latency_of_a_flatmap(env: LocalEnvironment) -> None:
    """A generator's latency is all that it takes for a record, without what comes behind it."""

    def halves(x: int) -> Any:
        time.sleep(0.005)
        yield x
        time.sleep(0.005)
        yield x

    env.from_collection(range(5)).flatmap(halves, name="halves").map(
        lambda x: time.sleep(0.03) or x, name="behind"
    ).sink(lambda _: None)
    latency = env.submit(autostop=True).operator("halves").latency
    assert latency is not None
    assert latency.measured == 5
    assert 0.009 < latency.p50 < 0.025


def test_async_operators(env: LocalEnvironment) -> None:
    """Each record is measured from its call to its end; busy is the time with any in flight."""

    async def call(x: int) -> int:
        await asyncio.sleep(0.02)
        return x

    env.from_collection(range(40)).map(call, name="call", concurrency=40).sink(lambda _: None)
    report = env.submit(autostop=True).operator("call")
    assert report.latency is not None
    assert report.latency.measured == 40
    assert report.latency.p50 > 0.018
    assert 0.018 < report.busy < 40 * 0.02
    assert report.in_flight == 0


def test_waiting_for_input_and_for_room() -> None:
    """A slow operator blocks the one before it, and lets the one behind it wait."""
    env = LocalEnvironment(config={"channel_capacity": 4})
    env.from_collection(range(40), name="source").map(
        lambda x: time.sleep(0.005) or x, parallelism=2, name="slow"
    ).sink(lambda _: None, name="out")
    result = env.submit(autostop=True)
    source, slow, out = (result.operator(name) for name in ("source", "slow", "out"))
    assert source.blocked > 0.03
    assert out.waited > 0.03
    assert slow.waited < slow.busy
    assert slow.busy >= 40 * 0.005
    assert source.waited == out.blocked == 0


def test_an_idle_source_waits(env: LocalEnvironment) -> None:
    """The time for which a source had nothing counts as its waiting, on threads."""

    def source() -> Any:
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until:
            yield None
        yield 1

    env.from_source(source, name="source").sink(lambda _: None)
    begun = time.perf_counter()
    waited = env.submit(autostop=True).operator("source").waited
    took = time.perf_counter() - begun
    assert waited == 0 if env.config.workers == "inline" else 0.01 < waited <= took


def test_bytes_to_and_from_worker_processes() -> None:
    """They are those of the pickled messages; nobody knows the size of what stays here."""
    env = LocalEnvironment(config={"workers": "process"})
    env.from_collection([bytes(1000)] + [b"%d" % x * 1000 for x in range(99)]).map(
        Echo, name="echo"
    ).sink(lambda _: None, name="out")
    result = env.submit(autostop=True)
    echo = result.operator("echo")
    assert echo.bytes_in is not None
    assert echo.bytes_out is not None
    payload = sum(len(b"%d" % x) * 1000 for x in range(99)) + 1000
    assert payload < echo.bytes_in < payload + 100_000
    assert payload < echo.bytes_out < payload + 300_000
    assert result.operator("out").bytes_in is None


def test_queued_and_in_flight_while_it_runs() -> None:
    """A live report says what waits before an operator and what it works on."""
    hold = threading.Event()
    env = LocalEnvironment()
    env.from_collection(range(100)).map(
        lambda x: hold.wait(20) and x, parallelism=2, name="held"
    ).sink(lambda _: None)
    job = env.submit()

    def held() -> OperatorReport:
        return next(report for report in job.metrics if report.name == "held")

    try:
        wait_until(lambda: held().in_flight >= 2 and held().in_flight + held().queued == 100)
    finally:
        hold.set()
        result = job.wait()
    assert (result.operator("held").queued, result.operator("held").in_flight) == (0, 0)


def test_async_in_flight_while_it_runs() -> None:
    """An async operator has as many in flight as its concurrency lets it."""
    hold = threading.Event()

    async def call(x: int) -> int:
        await asyncio.to_thread(hold.wait, 20)
        return x

    env = LocalEnvironment()
    env.from_collection(range(100)).map(call, concurrency=7, name="call").sink(lambda _: None)
    job = env.submit()
    try:
        wait_until(lambda: job.metrics[1].in_flight == 7)
        assert job.metrics[1].queued > 0
    finally:
        hold.set()
        job.wait()


def test_share_of_a_collection_and_of_files(env: LocalEnvironment) -> None:
    """A source whose size is known says how much it has given; another one does not."""
    Path("a.txt").write_text("one\ntwo\n")
    Path("b.txt").write_text("three\n")
    seen: list[float | None] = []

    def look(_: object) -> None:
        assert env.last_job is not None
        seen.append(env.last_job.metrics[0].share)

    env.from_files("*.txt", parallelism=1).sink(look)
    result = env.submit(autostop=True)
    assert result.operators[0].share == 1.0
    assert all(share is not None and 0 <= share <= 1 for share in seen)

    other = LocalEnvironment(config={"workers": env.config.workers})
    other.from_collection([1, 2]).sink(lambda _: None, name="a")
    other.from_source(iter([1]), name="unknown").sink(lambda _: None, name="b")
    reports = other.submit(autostop=True).operators
    assert [report.share for report in reports] == [1.0, None, None, None]


def test_bytes_of_packed_files_are_not_guessed() -> None:
    """The length of what is unpacked is not known beforehand."""
    import gzip

    Path("a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    env = LocalEnvironment()
    env.from_files("a.txt.gz").sink(lambda _: None)
    assert env.submit(autostop=True).operators[0].share is None


def test_as_dict_is_json(env: LocalEnvironment) -> None:
    """A result can be written as JSON, also that of a job that failed."""

    def fail(x: int) -> int:
        raise ValueError(f"no {x}")

    env.from_collection([3]).map(fail, name="fail").sink(print)
    with pytest.raises(OperatorError):
        env.submit(autostop=True)
    assert env.last_job is not None
    assert env.last_job.result is not None
    result = json.loads(json.dumps(env.last_job.result.as_dict()))
    assert result["status"] == "failed"
    assert result["error"].startswith("operator 'fail' failed on record 3")
    assert result["operators"][1]["failed"] == 1
    assert result["gpus"] == []


def test_profile_has_quantiles(env: LocalEnvironment) -> None:
    """The table of a profiled job says what the slowest records take."""
    env.from_collection(range(10)).map(lambda x: time.sleep(0.002) or x, name="slow").sink(
        lambda _: None, name="out"
    )
    heading, first, *_ = env.submit(autostop=True, profile=True).profile().splitlines()
    assert heading.split() == [
        *("operator", "records", "seconds", "share", "µs/record"),
        *("p50", "p95", "p99", "waited", "blocked"),
    ]
    assert first.startswith("slow")
    assert first.count(" ms ") == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (2.5e-7, "250 ns"), (1.234e-5, "12.3 µs"), (0.02, "20 ms"), (75.0, "75 s")],
)
def test_seconds_text(seconds: float | None, text: str) -> None:
    """Times have a unit that suits them."""
    assert seconds_text(seconds) == text
