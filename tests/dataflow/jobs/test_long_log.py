"""The log of a job that writes a lot, under a manager that keeps little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.job_manager import ManagerProcess

from sage.dataflow import JobStatus

LIMIT = 8192
BATCH = 100


def rounds(wait_for: Path, count: int) -> Any:
    """Give numbers, a batch after each time that a file is there."""
    for start in range(0, count, BATCH):
        while not wait_for.with_suffix(f".{start}").exists():
            time.sleep(0.01)
        yield from range(start, start + BATCH)


def say(number: int) -> int:
    print(f"record {number} {'.' * 20}", flush=True)
    return number


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("job.log*"))


def test_a_long_log_is_followed_whole_and_kept_in_part(tmp_path: Path) -> None:
    """Written by worker processes too; no line is lost or repeated, and no more is kept."""
    go, count = tmp_path / "go", 10 * BATCH
    with ManagerProcess(tmp_path / "home", "--log-limit", f"{LIMIT // 1024}KiB") as manager:
        env = manager.environment("talking")
        env.from_source(lambda: rounds(go, count)).map(say, workers="process").sink(
            lambda record: None
        )
        job = env.submit()
        go.with_suffix(".0").touch()
        said = []
        for line in job.logs(follow=True):
            if line.startswith("record "):
                said.append(int(line.split()[1]))
                # No more than half of the log comes before this has been read.
                if len(said) % BATCH == 0:
                    go.with_suffix(f".{len(said)}").touch()
        assert said == list(range(count))
        assert job.wait().status is JobStatus.FINISHED
        older, newer = sorted(kept(manager.root / job.id), reverse=True)
        assert (older.name, newer.name) == ("job.log.1", "job.log")
        assert older.stat().st_size + newer.stat().st_size < LIMIT + 1024
        lines = list(job.logs())
        assert lines == (older.read_text() + newer.read_text()).splitlines()
        assert "job 'talking' finished" in lines[-1]
        assert list(job.logs(lines=len(lines) - 1)) == lines[1:]


def test_last_words_are_in_the_log(tmp_path: Path) -> None:
    """What a driver writes just before it is killed is there, and so is what the next one says."""

    def last_words(number: int) -> int:
        if number == 7:
            os.write(2, b"these are my last words\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with ManagerProcess(tmp_path / "home") as manager:
        env = manager.environment("dies")
        env.from_source(lambda: iter(range(10))).map(last_words).sink(lambda record: None)
        job = env.submit()
        followed = list(job.logs(follow=True))
        assert job.status == "failed"
        assert followed[-1] == "these are my last words"


def test_a_manager_that_ends_leaves_the_log_to_go_on(tmp_path: Path) -> None:
    """The driver's log is written on; the next manager follows it."""
    go = tmp_path / "go"
    with ManagerProcess(tmp_path / "home") as manager:
        env = manager.environment("outlives")
        env.from_source(lambda: rounds(go, 2 * BATCH)).map(say).sink(lambda record: None)
        job = env.submit()
        go.with_suffix(".0").touch()
        lines = job.logs(follow=True)
        assert any(line.startswith(f"record {BATCH - 1} ") for line in lines)
        manager.kill()
        go.with_suffix(f".{BATCH}").touch()
        manager.start()
        said = [line for line in job.logs(follow=True) if line.startswith("record ")]
        assert [int(line.split()[1]) for line in said] == list(range(2 * BATCH))
        (last,) = job.logs(lines=1)
        assert last.endswith("job 'outlives' finished")
