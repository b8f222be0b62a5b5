"""Nothing is lost: at any parallelism, when a job stops, and under backpressure."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sage.dataflow import JobStatus, LocalEnvironment, SourceFunction
from sage.errors import ConfigError, JobCancelledError

RECORDS = 100_000


class Endless(SourceFunction):
    """Numbers without end."""

    def __init__(self) -> None:
        self.next = -1

    def execute(self) -> int:
        self.next += 1
        return self.next


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_every_record_arrives_once(env: LocalEnvironment, parallelism: int) -> None:
    """100,000 numbered records through three operators: each arrives exactly once."""
    out: list[int] = []
    (
        env.from_collection(range(RECORDS))
        .map(lambda x: x, parallelism=parallelism)
        .flatmap(lambda x: (x,), parallelism=2)
        .filter(lambda x: True, parallelism=parallelism)
        .sink(out.append)
    )
    result = env.submit(autostop=True)
    assert sorted(out) == list(range(RECORDS))
    assert (result.records_in, result.records_out) == (RECORDS, RECORDS)
    assert (result.failed, result.abandoned) == (0, 0)


def test_a_lazy_source_too() -> None:
    """The same from a generator, whose records move in batches of their own."""

    def numbers() -> Iterator[int]:
        yield from range(RECORDS)

    env = LocalEnvironment()
    out: list[int] = []
    env.from_source(numbers).map(lambda x: x, parallelism=4).sink(out.append)
    env.submit(autostop=True)
    assert sorted(out) == list(range(RECORDS))


def test_order_is_kept_at_parallelism_one() -> None:
    """Between stages of one replica records stay in order."""
    env = LocalEnvironment()
    out: list[int] = []
    stream = env.from_source(iter(range(20_000)))
    stream.map(lambda x: x).sink(out.append)
    env.submit(autostop=True)
    assert out == list(range(20_000))


def test_stop_drains() -> None:
    """stop() ends the sources, and what they gave arrives."""
    env = LocalEnvironment()
    out: list[int] = []
    reached = threading.Event()

    def sink(record: int) -> None:
        out.append(record)
        if record == 5000:
            reached.set()

    env.from_source(Endless).map(lambda x: x).sink(sink)
    job = env.submit()
    assert reached.wait(20)
    assert job.status is JobStatus.RUNNING
    result = job.stop(drain=True)
    assert out == list(range(result.records_in))
    assert result.records_out == result.records_in
    assert job.status is result.status is JobStatus.STOPPED


def test_cancel_abandons_and_counts() -> None:
    """cancel() stops at once; what was on its way is counted as abandoned."""
    env = LocalEnvironment()
    started, release = threading.Event(), threading.Event()

    def hold(record: int) -> None:
        started.set()
        assert release.wait(20)

    env.from_source(Endless).sink(hold)
    job = env.submit()
    assert started.wait(20)
    threading.Timer(0.05, release.set).start()
    result = job.cancel()
    assert result.status is JobStatus.CANCELLED
    assert result.records_in == result.records_out + result.abandoned
    assert result.abandoned > 0
    with pytest.raises(JobCancelledError):
        job.wait()


def test_backpressure_stops_the_source() -> None:
    """A sink that stalls stops the source after what the channel holds."""
    env = LocalEnvironment(config={"channel_capacity": 100, "batch_size": 10})
    release = threading.Event()
    env.from_source(Endless).sink(lambda _: release.wait(20))
    job = env.submit()
    deadline = time.monotonic() + 20
    given = -1
    while given != (given := job.metrics[0].records_out) or given == 0:
        assert time.monotonic() < deadline
        release.wait(0.05)
    assert 0 < given <= 100 + 2 * 10
    release.set()
    job.stop()


def test_keyboard_interrupt_leaves_nothing() -> None:
    """Ctrl-C in submit() closes every operator, leaves no thread, and is raised."""
    env = LocalEnvironment()
    started = threading.Event()
    env.from_source(Endless).map(lambda x: x, parallelism=2).sink(lambda _: started.set())

    def interrupt() -> None:
        started.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        env.submit(autostop=True)
    helper.join()
    assert env.last_job is not None
    assert env.last_job.status is JobStatus.CANCELLED


def test_keyboard_interrupt_inline() -> None:
    """The same in the caller's thread."""
    env = LocalEnvironment(config={"workers": "inline"})

    def sink(record: int) -> None:
        if record == 1000:
            os.kill(os.getpid(), signal.SIGINT)

    env.from_source(Endless).sink(sink)
    with pytest.raises(KeyboardInterrupt):
        env.submit(autostop=True)
    assert env.last_job is not None
    assert env.last_job.status is JobStatus.CANCELLED


def test_wait_with_a_timeout() -> None:
    """wait() raises TimeoutError while the job goes on."""
    env = LocalEnvironment()
    env.from_source(Endless).sink(lambda _: None)
    job = env.submit()
    with pytest.raises(TimeoutError, match="goes on"):
        job.wait(0.01)
    assert job.stop().status is JobStatus.STOPPED


def test_inline_needs_autostop() -> None:
    """Inline workers have no thread to run in after submit() returned."""
    env = LocalEnvironment(config={"workers": "inline"})
    env.from_collection([1]).sink(print)
    with pytest.raises(ConfigError, match="autostop=True"):
        env.submit()


def test_waiting_work_overlaps() -> None:
    """Four replicas share slow records evenly: ten records of 50 ms take three turns."""
    env = LocalEnvironment()
    env.from_collection(range(12)).map(lambda x: time.sleep(0.05) or x, parallelism=4).sink(
        lambda _: None
    )
    result = env.submit(autostop=True)
    assert result.duration < 0.4  # one by one they would take 0.6 s
