"""Looking after jobs, with times given and drivers that are other processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sage.config.processes import created
from sage.dataflow.jobs.caretaker import PATIENCE, Caretaker
from sage.dataflow.jobs.folder import DriverState
from sage.dataflow.jobs.life import JobLife, JobState, Order
from sage.dataflow.jobs.registry import JobRegistry
from sage.dataflow.jobs.store import JobRecord
from sage.dataflow.jobs.wire import Progress, Recovery, Versions

RUNNING = JobLife(JobState.RUNNING, attempt=1)


class Clock:
    """Seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Care:
    """A registry with one job, and who looks after it."""

    def __init__(self, root: Path) -> None:
        self.registry = JobRegistry(root)
        self.clock = Clock()
        self.caretaker = Caretaker(self.registry, self.clock, self.clock)
        self._processes: list[subprocess.Popen[bytes]] = []

    def add(self, life: JobLife, recovery: Recovery, *, driven: bool = True) -> None:
        record = JobRecord(
            id="job",
            name="job",
            created=1.0,
            versions=Versions("3.12.1", "0.1.0", "3.1.0"),
            config={},
            recovery=recovery,
            folder=None,
            profile=False,
            resume=None,
            life=life,
            started=self.clock.now,
        )
        self.registry.folder("job").make(b"")
        if driven:
            pid = self.start().pid
            record = msgspec.structs.replace(record, pid=pid, pid_created=created(pid))
        assert self.registry.add(record)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process that does nothing, in place of a driver."""
        words = [sys.executable, "-c", "import time; time.sleep(600)"]
        self._processes.append(subprocess.Popen(words, start_new_session=True))
        return self._processes[-1]

    def look(self) -> JobRecord:
        asyncio.run(self.caretaker.look_after("job"))
        return self.registry.get("job")

    def end(self) -> None:
        """End the driver's place holder."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.registry.close()


@pytest.fixture
def care(tmp_path: Path) -> Iterator[Care]:
    made = Care(tmp_path)
    yield made
    made.close()


def test_a_driver_that_ends_without_a_result_is_followed_after_the_delay(care: Care) -> None:
    """Not before; the time is written down, so that the next manager knows it too."""
    care.add(RUNNING, Recovery("/c"))
    assert care.look().life == RUNNING
    care.end()
    lost = care.look().life
    assert (lost.state, lost.due) == (JobState.LOST, 1001.0)
    care.clock.now = 1000.9
    assert care.look().life == lost


def test_a_result_is_taken_although_the_driver_is_gone(care: Care) -> None:
    """One of an earlier driver is not."""
    care.add(JobLife(JobState.RUNNING, attempt=2), Recovery("/c"))
    folder = care.registry.folder("job")
    folder.write_result(Progress("stopped", 1), None)
    assert care.look().life.state is JobState.RUNNING
    folder.write_result(Progress("failed", 2, error="why"), b"details")
    care.end()
    record = care.look()
    assert (record.life.state, record.life.error) == (JobState.FAILED, "why")
    assert record.ended is not None
    assert care.registry.live == {}


def test_a_driver_that_the_last_manager_did_not_write_down(care: Care) -> None:
    """It is found by what it has left in the folder; without that, it is given up in the end."""
    care.add(JobLife(JobState.STARTING, attempt=1), Recovery("/c"), driven=False)
    assert care.look().life.state is JobState.STARTING
    pid = care.start().pid
    state = DriverState(pid, created(pid) or 0.0, 1, "/nowhere")
    care.registry.folder("job").write_driver(state)
    care.clock.now += 3600
    assert care.look().life.state is JobState.STARTING
    care.end()
    assert care.look().life.state is JobState.LOST


def test_a_driver_that_was_never_born(care: Care) -> None:
    """The manager was killed before it had started it."""
    care.add(JobLife(JobState.STARTING, attempt=1), Recovery(), driven=False)
    assert care.look().life.state is JobState.STARTING
    care.clock.now += 3600
    life = care.look().life
    assert life.state is JobState.FAILED
    assert life.error is not None
    assert life.error.startswith("its driver did not start")


def test_a_driver_that_does_not_end_when_its_job_is_cancelled_is_killed(care: Care) -> None:
    """Not at once: operators have some seconds to return."""
    care.add(JobLife(JobState.RUNNING, attempt=1, order=Order.CANCEL), Recovery("/c"))
    process = care._processes[0]
    care.look()
    care.clock.now += PATIENCE
    care.look()
    assert process.poll() is None
    care.clock.now += 0.1
    care.look()
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert care.look().life.state is JobState.CANCELLED


def test_a_driver_that_cannot_be_started_fails_the_job(care: Care) -> None:
    """As when the disk is full: its folder cannot be written."""
    care.add(JobLife(), Recovery("/c"), driven=False)
    care.registry.folder("job").remove()
    record = care.look()
    assert record.life.state is JobState.FAILED
    assert record.life.error is not None
    assert "cannot be started: No such file" in record.life.error
