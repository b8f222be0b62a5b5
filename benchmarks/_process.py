"""Servers that a benchmark starts: pinned to a core, their CPU time and memory, and their end."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_GRACE_S = 3.0
# Of open files, as the user has it: a benchmark may raise its own, and servers start from this.
FILES, _MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A server and every process that it starts; leaving the block ends them all.

    Args:
        command: program and arguments.
        core: the one core that it may use.
        log: file for what it writes.
        environment: variables on top of this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        if not (shutil.which("taskset") and shutil.which("prlimit")):
            raise SystemExit("taskset or prlimit is missing; install util-linux")
        limit = f"--nofile={_shown(FILES)}:{_shown(_MOST_FILES)}"
        placed = ["prlimit", limit, "taskset", "-c", str(core)]
        with log.open("wb") as output:
            # A session of its own, so that Ctrl-C reaches this process alone and it ends the rest.
            self._popen = subprocess.Popen(
                [*placed, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self._root = psutil.Process(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, of all its processes since they started.

        Raises:
            RuntimeError: it has ended; with the end of its log.
        """
        if not self.alive:
            raise RuntimeError(f"ended with {self._popen.returncode}: {self.log_tail()}")
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess, OSError):
                times = process.cpu_times()
                total += _cpu_clock(process.pid)
                # Of children that have ended, their parent keeps the time.
                total += times.children_user + times.children_system
        return total

    def rss_bytes(self) -> int:
        """Return the resident memory of all its processes; pages they share count for each."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def log_tail(self, size: int = 600) -> str:
        """Return the end of what it wrote."""
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return text[-size:]

    def stop(self) -> None:
        """Ask all its processes to end, and kill those that have not after a few seconds."""
        tree = self._tree()
        for process in tree:
            _signal(process, signal.SIGTERM)
        # The parent is waited for through Popen, or it would stay as a zombie.
        try:
            self._popen.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        _, left = psutil.wait_procs(tree[1:], timeout=_GRACE_S)
        for process in left:
            _signal(process, signal.SIGKILL)


def _shown(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _cpu_clock(pid: int) -> float:
    """Return the CPU seconds of a process, to the nanosecond; psutil's count in 10 ms.

    The clock's number is made as clock_getcpuclockid(3) makes it.
    """
    return time.clock_gettime((~pid << 3) | 2)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
