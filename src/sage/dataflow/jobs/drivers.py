"""The manager's side of its drivers: starts them, and tells whether they are still there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from sage.config.lock import is_locked, lock_shared
from sage.config.processes import created, is_process
from sage.dataflow.jobs.folder import JobFolder


class Drivers:
    """Driver processes, each in a session of its own, so that they outlive this process.

    Args:
        log_limit: bytes that are kept of a job's log.
    """

    def __init__(self, log_limit: int) -> None:
        self._log_limit = log_limit
        # Those that this manager has started; it must ask for their end, lest they stay zombies.
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._writers: list[subprocess.Popen[bytes]] = []

    def start(self, folder: JobFolder, working: str | None) -> tuple[int, float]:
        """Start a driver for a job.

        Args:
            folder: the job's.
            working: where the process is to run, if that is a folder here.

        Returns:
            its pid, and when it started in seconds since the epoch.

        Raises:
            OSError: it cannot be started, or who writes its log cannot.
        """
        home = working if working is not None and Path(working).is_dir() else str(folder.path)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as read_end, os.fdopen(writing, "wb") as log:
            self._start_log(folder, read_end)
            child = subprocess.Popen(
                [sys.executable, "-u", "-m", "sage.dataflow.jobs.driver", str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=home,
            )
        self._children[child.pid] = child
        return child.pid, created(child.pid) or 0.0

    def _start_log(self, folder: JobFolder, read_end: BinaryIO) -> None:
        """Start a process that writes a driver's log, until nobody has the pipe any more.

        It outlives the driver, whose last words it writes.
        """
        command = [sys.executable, "-m", "sage.config.log_writer", folder.log.name]
        with lock_shared(folder.log_lock) as lock:
            child = subprocess.Popen(
                [*command, str(self._log_limit)],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd=folder.path,
                # It has the lock for as long as it runs.
                pass_fds=[lock],
            )
        self._writers.append(child)

    def writes_log(self, folder: JobFolder) -> bool:
        """Say whether a job's log may still grow."""
        return is_locked(folder.log_lock)

    def reap(self) -> None:
        """Take note of children that have ended."""
        self._writers = [writer for writer in self._writers if writer.poll() is None]
        for pid, child in tuple(self._children.items()):
            code = child.poll()
            if code is not None:
                self._codes[pid] = code
                del self._children[pid]

    def alive(self, pid: int | None, pid_created: float | None) -> bool:
        """Say whether a driver is still there."""
        return pid is not None and pid_created is not None and is_process(pid, pid_created)

    def kill(self, pid: int) -> None:
        """End a driver, and what it has started in its session, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def farewell(self, pid: int | None) -> str:
        """Say how a driver ended that left no result."""
        if pid is None:
            return "its driver did not start"
        code = self._codes.pop(pid, None)
        name = f"its driver (pid {pid})"
        if code is None:
            # It was the child of an earlier manager, so how it ended is not to be known.
            return f"{name} died"
        return f"{name} {_exit_text(code)} without a result"

    def forget(self) -> None:
        """Leave the drivers to themselves: this process ends."""
        for child in (*self._children.values(), *self._writers):
            # Told so, subprocess does not warn of a child that is left running.
            child.returncode = 0
        self._children.clear()
        self._writers.clear()


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
