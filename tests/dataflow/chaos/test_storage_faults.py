"""A disk that is full or damages files costs checkpoints, and never the job."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from chaos_parts import Numbers, Once, await_checkpoint, checkpoint_path

from sage.dataflow import JobStatus, LocalEnvironment
from sage.errors import CheckpointError

TOTAL = 1_000


def build(folder: Path, numbers: Numbers, sink: Once, interval: float = 0.02) -> LocalEnvironment:
    config = {"checkpoint": {"dir": folder, "interval": interval, "keep": 50}}
    env = LocalEnvironment("job", config=config)
    counted = env.from_source(numbers, name="numbers").keyby(lambda number: number % 7)
    counted.reduce(lambda a, b: a + b, name="sum", parallelism=2).sink(sink, name="sink")
    return env


def undisturbed() -> Counter[int]:
    sums = [0] * 7
    seen: Counter[int] = Counter()
    for number in range(TOTAL):
        sums[number % 7] += number
        seen[sums[number % 7]] += 1
    return seen


def fill(folder: Path, numbers: range) -> None:
    """Leave no space for checkpoints of these numbers: the system says so at the first byte."""
    for number in numbers:
        path = checkpoint_path(folder, number)
        path.with_name(f"{path.name}.tmp").symlink_to("/dev/full")


def test_no_space_while_a_job_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The job goes on and counts what it could not write; it resumes from what it could."""
    gates = [100]
    first = build(tmp_path, Numbers(TOTAL, lambda number: number < gates[0]), Once())
    with caplog.at_level(logging.WARNING):
        job = first.submit()
        await_checkpoint(job, tmp_path, 2)
        full = range(10, 14)
        fill(tmp_path, full)
        gates[0] = 300
        await_checkpoint(job, tmp_path, full.stop)
        gates[0] = 500
        await_checkpoint(job, tmp_path, full.stop + 3)
        result = job.cancel()
    assert result.status is JobStatus.CANCELLED
    assert result.failed_checkpoints == len(full)
    failed = [record for record in caplog.messages if "No space left on device" in record]
    assert len(failed) == len(full)
    assert not [number for number in full if checkpoint_path(tmp_path, number).exists()]
    sink = Once()
    result = build(tmp_path, Numbers(TOTAL), sink).submit(autostop=True, resume="latest")
    assert result.resumed_from is not None
    assert result.resumed_from >= full.stop + 3
    assert sink.seen == undisturbed()


def test_no_space_for_the_last_checkpoint(tmp_path: Path) -> None:
    """A job that is stopped says that it lost what its last checkpoint was to keep."""
    job = build(tmp_path, Numbers(TOTAL, lambda number: number < 100), Once(), 1000).submit()
    fill(tmp_path, range(1, 2))
    with pytest.raises(CheckpointError, match="No space left on device"):
        job.stop(timeout=20)
    assert job.result is not None
    assert job.result.failed_checkpoints == 1


@pytest.mark.parametrize("left", [0, 20, -1])
def test_a_file_is_cut_short_while_a_job_runs(left: int, tmp_path: Path) -> None:
    """The job goes on; one that resumes takes the last whole checkpoint and loses nothing."""
    job = build(tmp_path, Numbers(TOTAL, lambda number: number < 500), Once()).submit()
    await_checkpoint(job, tmp_path, 3)
    last = job.cancel().checkpoints
    for number in (last, last - 1):
        path = checkpoint_path(tmp_path, number)
        with path.open("r+b") as file:
            file.truncate(left if left >= 0 else path.stat().st_size + left)
    sink = Once()
    job = build(tmp_path, Numbers(TOTAL, lambda number: number < 800), sink).submit(resume="latest")
    await_checkpoint(job, tmp_path, last + 2)
    checkpoint_path(tmp_path, last + 1).write_bytes(b"")
    result = job.cancel()
    assert result.resumed_from == last - 2
    sink = Once()
    result = build(tmp_path, Numbers(TOTAL), sink).submit(autostop=True, resume="latest")
    assert result.resumed_from is not None
    assert result.resumed_from > last
    assert sink.seen == undisturbed()
