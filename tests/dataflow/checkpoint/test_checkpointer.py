"""When checkpoints are taken, and what becomes of those that cannot be written."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support import wait_until

from sage.dataflow import LocalEnvironment, SourceFunction
from sage.dataflow.checkpoint.checkpointer import Checkpointer
from sage.dataflow.checkpoint.gathering import Part
from sage.dataflow.checkpoint.snapshot import JobSnapshot
from sage.dataflow.history import JobHistory
from sage.errors import CheckpointError

A, B = Part(0, 0), Part(1, 0)


class Shelf:
    """Keeps checkpoints in a list; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.snapshots: list[JobSnapshot] = []

    def save(self, snapshot: JobSnapshot) -> None:
        if self.failures:
            self.failures -= 1
            raise CheckpointError("the shelf is full")
        self.snapshots.append(snapshot)


def checkpointer(shelf: Shelf, history: JobHistory, **settings: Any) -> Checkpointer:
    settings.setdefault("interval", 0.01)
    return Checkpointer(shelf, (), [A, B], history=history, wall_clock=lambda: 5.0, **settings)


def test_one_after_the_other() -> None:
    """A new one begins only when the last one is written, with the next number."""
    shelf, history = Shelf(), JobHistory()
    job = checkpointer(shelf, history, first=7)
    job.start()
    for number in (7, 8):
        wait_until(lambda number=number: job.barrier is not None and job.barrier.number == number)
        barrier = job.barrier
        assert barrier is not None
        job.save(A, barrier, {"a": b"1"})
        assert [each.number for each in shelf.snapshots] == list(range(7, number))
        job.save(B, barrier, {"b": b"2"})
    wait_until(lambda: history.checkpoints == 2)
    assert job.close(finished=False) is None
    assert [each.number for each in shelf.snapshots] == [7, 8]
    assert shelf.snapshots[0].time == 5.0
    assert history.last_checkpoint == 8


def test_one_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged with the reason, and the next one is tried."""
    shelf, history = Shelf(failures=1), JobHistory()
    job = checkpointer(shelf, history)
    for _ in range(2):
        job.take(lambda barrier: [job.save(part, barrier, {}) for part in (A, B)])
    assert (history.checkpoints, history.failed_checkpoints, history.last_checkpoint) == (1, 1, 2)
    assert "checkpoint 1 was not written: the shelf is full" in caplog.text


def test_the_last_one_must_be_written(tmp_path: Path) -> None:
    """A job that was stopped for its sake fails when it cannot be: nothing was flushed."""

    class Endless(SourceFunction):
        at = 0

        def offset(self) -> int:
            return self.at

        def seek(self, offset: int) -> None:
            self.at = offset

        def execute(self) -> int:
            self.at += 1
            return self.at

    folder = tmp_path / "checkpoints"
    env = LocalEnvironment("job", config={"checkpoint": {"dir": folder, "interval": 60}})
    taken = threading.Event()
    env.from_source(Endless).sink(lambda _: taken.set())
    job = env.submit()
    assert taken.wait(10)
    for name in folder.iterdir():
        name.unlink()
    folder.rmdir()
    folder.write_text("no folder any more")
    with pytest.raises(CheckpointError, match="cannot write"):
        job.stop(timeout=20)
    assert job.result is not None
    assert job.result.failed_checkpoints == 1


def test_all_that_ended_is_saved_at_the_end() -> None:
    """A job that finished has a checkpoint that says so."""
    shelf, history = Shelf(), JobHistory()
    job = checkpointer(shelf, history, interval=60.0)
    job.start()
    job.end(A, {"a": b"1"})
    job.end(B, {"b": b"2"})
    assert job.close(finished=True) is None
    assert [each.operators["a"][0].finished for each in shelf.snapshots] == [True]


def test_one_that_is_waited_for_long(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log names the stages that keep it from coming together."""
    monkeypatch.setattr("sage.dataflow.checkpoint.checkpointer.SLOW_SECONDS", 0.01)
    job = checkpointer(Shelf(), JobHistory(), interval=0.001)
    job.start()
    wait_until(lambda: "waits for stages 0, 1" in caplog.text)
    job.close(finished=False)
