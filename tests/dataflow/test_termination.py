"""SIGTERM to a program that waits for a job: it drains, or stops, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import wait_until

SCRIPT = Path(__file__).with_name("shutdown_jobs.py")


class Program:
    """A job that runs as a program of its own, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self, code: int = 0) -> dict[str, Any]:
        """What it said when it was done, having left nothing behind."""
        while "status" not in (facts := self.line()):
            assert facts == {"ready": True}
        assert self.process.wait(20) == code, self.process.communicate()[1]
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)
        assert facts["children"] == facts["shared"] == facts["temporary"] == []
        assert facts["put_back"]
        return facts


@contextmanager
def program(job: str, tmp_path: Path, *, grace: float = 20.0, **extra: str) -> Iterator[Program]:
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), job, str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), **extra},
    )
    with process:
        try:
            yield Program(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("job", ["batches", "batches:handle", "inline", "in_flight", "processes"])
def test_drains(job: str, tmp_path: Path) -> None:
    """What the source gave arrives, flushed batches and calls in flight too; submit() returns.

    The signal goes to the whole process group, and worker processes live until the end.
    """
    with program(job, tmp_path) as running:
        assert running.line() == {"ready": True}
        os.killpg(running.process.pid, signal.SIGTERM)
        facts = running.end()
    assert facts["status"] == "stopped"
    assert facts["records_in"] == facts["records_out"] == facts["seen"] >= 100
    assert facts["abandoned"] == 0
    assert facts["threads"] == []


def test_workers_that_start(tmp_path: Path) -> None:
    """A worker process that has not come so far as to handle signals survives them, too."""
    site, mark = tmp_path / "site", tmp_path / "mark"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "if 'sage.dataflow.runtime.worker' in ' '.join(sys.orig_argv):\n"
        f"    pathlib.Path({str(mark)!r}).touch()\n"
        "    time.sleep(0.5)\n"
    )
    with program("processes", tmp_path, PYTHONPATH=str(site)) as running:
        wait_until(mark.exists)
        os.killpg(running.process.pid, signal.SIGTERM)
        facts = running.end()
    assert facts["status"] == "stopped"
    assert facts["records_in"] == facts["records_out"]


def test_a_second_signal_stops(tmp_path: Path) -> None:
    """At once: what waits is abandoned and counted, and JobCancelledError says so."""
    with program("behind", tmp_path) as running:
        assert running.line() == {"ready": True}
        time.sleep(0.3)
        running.process.terminate()
        time.sleep(0.3)
        assert running.process.poll() is None
        running.process.terminate()
        begun = time.monotonic()
        facts = running.end()
    assert time.monotonic() - begun < 5
    assert facts["cancelled"] == "job 'job' was cancelled before its input ended"
    assert facts["status"] == "cancelled"
    assert facts["abandoned"] > 0
    assert facts["threads"] == []


def test_the_grace_period_ends(tmp_path: Path) -> None:
    """The same when it has not drained in time."""
    with program("behind", tmp_path, grace=0.5) as running:
        assert running.line() == {"ready": True}
        time.sleep(0.3)
        running.process.terminate()
        facts = running.end()
    assert facts["status"] == "cancelled"
    assert facts["abandoned"] > 0


def test_what_never_returns(tmp_path: Path) -> None:
    """A worker process is killed, and a thread is left behind by name; the program goes on."""
    with program("blocked", tmp_path, grace=0.2) as running:
        assert running.line() == {"ready": True}
        running.process.terminate()
        facts = running.end()
    assert facts["status"] == "cancelled"
    assert facts["threads"] == ["again → block[0]"]
    assert facts["cancelled"].endswith("were left behind: again → block[0]")


@pytest.mark.parametrize(("grace", "signals"), [(0.2, 1), (20, 2)])
def test_inline(grace: float, signals: int, tmp_path: Path) -> None:
    """Inline, a call that blocks is interrupted by the second signal or the end of the grace."""
    with program("blocked_inline", tmp_path, grace=grace) as running:
        assert running.line() == {"ready": True}
        for _ in range(signals):
            running.process.terminate()
            time.sleep(0.1)
        facts = running.end()
    assert facts["status"] == "cancelled"
    assert facts["cancelled"]


def test_with_checkpoints(tmp_path: Path) -> None:
    """A drained job has taken a last checkpoint, from which the next run goes on: each once."""
    with program("saved", tmp_path) as running:
        assert running.line() == {"ready": True}
        running.process.terminate()
        facts = running.end()
    assert facts["status"] == "stopped"
    assert 100 < len(Path("noted").read_text().splitlines()) < 2000
    with program("saved:resumed", tmp_path) as running:
        assert running.end()["status"] == "finished"
    assert sorted(map(int, Path("noted").read_text().split())) == list(range(2000))


@pytest.mark.parametrize("job", ["restarting", "restarting_inline"])
def test_between_two_attempts(job: str, tmp_path: Path) -> None:
    """A job that waits for its next attempt ends at once, failed as it was."""
    with program(job, tmp_path) as running:
        assert running.line() == {"ready": True}
        running.process.terminate()
        facts = running.end()
    assert facts["status"] == "failed"


def test_a_handler_of_ones_own(tmp_path: Path) -> None:
    """A program that handles SIGTERM is left alone: its handler is called, and the job goes on."""
    with program("own_handler", tmp_path) as running:
        assert running.line() == {"ready": True}
        running.process.terminate()
        assert running.line() == {"own": True}
        facts = running.end()
    assert facts["status"] == "cancelled"  # by the Ctrl-C that it sends itself
