"""The memory limit: pause, go on, or fail."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import wait_until

from sage.dataflow import LocalEnvironment, MapFunction
from sage.dataflow import memory as memory_module
from sage.dataflow.memory import Action, MemoryGuard, MemoryProbe, resident_bytes
from sage.errors import ConfigError, DataflowError


def decisions(readings: list[tuple[float, int]], limit: int = 1000, grace: float = 10) -> list[str]:
    guard = MemoryGuard(limit, grace)
    return [guard.decide(now, used).name for now, used in readings]


def test_nothing_up_to_the_limit() -> None:
    """Up to the limit nothing happens."""
    assert decisions([(0, 0), (1, 999), (2, 1000)]) == ["NONE"] * 3


def test_pause_and_resume() -> None:
    """Past the limit the sources are paused; they go on below 95 % of it, not before."""
    readings = [(0, 1001), (1, 1005), (2, 980), (3, 951), (4, 950), (5, 1000), (6, 1100)]
    assert decisions(readings) == ["PAUSE", "NONE", "NONE", "NONE", "RESUME", "NONE", "PAUSE"]


def test_fails_after_the_grace() -> None:
    """Memory that does not fall while the sources are paused fails the job."""
    assert decisions([(0, 1200), (9.9, 1200), (10, 1195)]) == ["PAUSE", "NONE", "FAIL"]


def test_memory_that_falls_slowly_has_time() -> None:
    """Each fall by 1 % of the limit begins the grace anew."""
    readings = [(0, 1200), (9, 1190), (18, 1180), (27, 1170), (37, 1170)]
    assert decisions(readings) == ["PAUSE", "NONE", "NONE", "NONE", "FAIL"]


def test_another_attempt_has_a_grace_of_its_own() -> None:
    """A job that is started again after the failure is paused again before it fails again."""
    readings = [(0, 1200), (10, 1200), (11, 1200), (20.5, 1200), (21, 1200)]
    assert decisions(readings) == ["PAUSE", "FAIL", "PAUSE", "NONE", "FAIL"]


def test_new_sources_are_paused_too() -> None:
    """The pause is said at each reading: sources that were begun since then hold as well."""
    sources = Sources()
    probe = MemoryProbe("job", MemoryGuard(1000), sources, lambda: 1500, lambda: "")
    for now in range(3):
        probe.probe(now)
    assert sources.calls == [True, True, True]


class Sources:
    """Notes what a probe does."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def pause(self, paused: bool) -> None:
        self.calls.append(paused)

    def fail(self, error: BaseException) -> None:
        self.calls.append(error)


def test_it_says_once_why(caplog: pytest.LogCaptureFixture) -> None:
    """The first pause is logged, with use, limit and largest queue; the error names them too."""
    sources, used = Sources(), iter([1500, 900, 1500, 1500])
    guard = MemoryGuard(1000, grace=10)
    probe = MemoryProbe("job", guard, sources, lambda: next(used), lambda: "the queue is long")
    with caplog.at_level(logging.WARNING, logger="sage.dataflow"):
        for now in (0.0, 1.0, 2.0, 12.0):
            probe.probe(now)
    *paused, error = sources.calls
    assert paused == [True, False, True]
    assert not guard.paused
    assert isinstance(error, DataflowError)
    assert "uses 1.5 KB of memory, its memory_limit is 1.0 KB" in str(error)
    assert "in 10 s with its sources paused; the queue is long." in str(error)
    (record,) = caplog.records
    assert "past its memory_limit of 1.0 KB: its sources are paused" in record.getMessage()
    assert "the queue is long" in record.getMessage()


def test_resident_bytes_count_worker_processes() -> None:
    """Workers that live count; one that has ended does not."""
    code = "x = bytearray(50_000_000); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        alone, together = resident_bytes([]), resident_bytes([process.pid])
        process.communicate(b"\n")
        assert resident_bytes([process.pid]) < alone + 50_000_000 < together


@pytest.mark.parametrize("value", ["4 apples", "", "GB", 0, -1, 1.5, True, [], "0GB"])
def test_a_size_that_is_none(value: object) -> None:
    """A limit that cannot be read is an error that names it."""
    with pytest.raises(ConfigError, match=r"memory_limit is .*; give bytes, or a text such as"):
        LocalEnvironment(config={"memory_limit": value})


@pytest.mark.parametrize(
    ("value", "size"),
    [(5, 5), ("4GB", 4 * 10**9), (" 512 mib ", 2**29), ("1.5kb", 1500), ("7", 7), (None, None)],
)
def test_sizes(value: object, size: int | None) -> None:
    """Bytes, or a number with a unit."""
    assert LocalEnvironment(config={"memory_limit": value}).config.memory_limit == size


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that waits a moment only."""
    monkeypatch.setattr(memory_module, "GRACE", 0.5)


@pytest.mark.usefixtures("short_grace")
def test_a_job_past_its_limit_fails() -> None:
    """A job that holds more than its limit ends with the error, and closes its operators."""
    closed = threading.Event()

    class Hoarder(MapFunction):
        def execute(self, data: int) -> int:
            return data

        def close(self) -> None:
            closed.set()

    def forever() -> Iterator[int]:
        while True:
            yield 1

    env = LocalEnvironment("hoarder", config={"memory_limit": "1MB"})
    env.from_source(forever).map(Hoarder, name="hoard").sink(lambda _: None)
    with pytest.raises(DataflowError, match=r"'hoarder' uses .* [MG]B of memory, its memory_limit"):
        env.submit(autostop=True)
    assert closed.is_set()
    assert env.last_job is not None
    assert env.last_job.status == "failed"


@pytest.mark.skipif(sys.platform != "linux", reason="goes by glibc giving memory back")
def test_a_queue_that_drains_lets_the_sources_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """A job whose memory is in a queue is slowed down, and then ends as it should."""

    def large() -> Iterator[bytes]:
        for number in range(400):
            yield b"x" * (500_000 + number)

    limit = resident_bytes([]) + 60_000_000
    env = LocalEnvironment(config={"memory_limit": limit})
    env.from_source(large).map(lambda x: time.sleep(0.004) or len(x), parallelism=2).sink(
        lambda _: None
    )
    with caplog.at_level(logging.WARNING, logger="sage.dataflow"):
        result = env.submit(autostop=True)
    assert result.records_out == 400
    assert "its sources are paused" in caplog.text


@pytest.mark.usefixtures("short_grace")
def test_an_inline_job_past_its_limit_fails() -> None:
    """Without queues to wait for, it fails after the grace."""

    def forever() -> Iterator[int]:
        while True:
            yield 1

    env = LocalEnvironment("inline", config={"memory_limit": 1_000_000, "workers": "inline"})
    env.from_source(forever).sink(lambda _: None)
    with pytest.raises(DataflowError, match="no records wait in a queue"):
        env.submit(autostop=True)


@pytest.mark.parametrize("eager", [False, True])
def test_paused_sources_give_nothing(eager: bool) -> None:
    """What a paused source has given flows through, and it goes on where it was."""
    count = [0]

    def numbers() -> Iterator[int]:
        for number in range(100_000_000):
            count[0] = number
            yield number

    env = LocalEnvironment()
    source: Any = range(100_000_000) if eager else numbers
    env.from_source(source, name="numbers").map(lambda x: x, parallelism=2, name="next").sink(
        lambda _: None, name="out"
    )
    job = env.submit()
    runtime = job._runtime
    try:
        wait_until(lambda: job.metrics[-1].records_out > 1000)
        runtime.pause(True)

        def settled() -> bool:
            given, out = job.metrics[0].records_out, job.metrics[-1].records_out
            time.sleep(0.1)
            return given == out == job.metrics[0].records_out

        wait_until(settled)
        before = job.metrics[0].records_out
        runtime.pause(False)
        wait_until(lambda: job.metrics[-1].records_out > before)
        runtime.pause(True)
    finally:
        result = job.stop()
    assert result.abandoned == 0
    assert result.records_in == result.records_out


@pytest.mark.parametrize("eager", [False, True])
def test_a_paused_job_with_checkpoints_can_be_stopped(eager: bool, tmp_path: Path) -> None:
    """Paused sources send the last checkpoint's barrier, and end with it."""
    config = {"checkpoint": {"dir": str(tmp_path / "checkpoints"), "interval": 1000.0}}
    env = LocalEnvironment("stopped", config=config)

    def numbers() -> Iterator[int]:
        yield from range(100_000_000)

    source: Any = range(100_000_000) if eager else numbers
    env.from_source(source, name="numbers").map(lambda x: x, parallelism=2, name="next").sink(
        lambda _: None, name="out"
    )
    job = env.submit()
    try:
        wait_until(lambda: job.metrics[-1].records_out > 1000)
        job._runtime.pause(True)
        result = job.stop(timeout=20)
    finally:
        job.cancel()
    assert result.checkpoints == 1
    assert result.records_in == result.records_out


def test_a_job_below_its_limit_is_left_alone() -> None:
    """With a limit far away a job does as without one, and no thread stays."""
    env = LocalEnvironment(config={"memory_limit": "100TB"})
    out: list[int] = []
    env.from_collection(range(1000)).sink(out.append)
    assert env.submit(autostop=True).records_out == 1000
    assert Action.NONE == "none"
