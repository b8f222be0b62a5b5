"""Runs a command and tells what all of its processes cost.

    python benchmarks/_client_cost.py SECONDS FILE ASKED COMMAND...

A load client of many processes may end without waiting for some of them, and their CPU time is
then lost to its parent. Here such an orphan comes to this process, which waits for it. After
SECONDS the command is ended. ASKED is a file that the server writes to at the first chat: what
was spent before is starting. FILE is given JSON: ``returncode``, ``cpu_s``, ``start_cpu_s``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S, _LOOK_S = 5.0, 0.01
_TIMED_OUT = 124


def _end_all(number: signal.Signals) -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.send_signal(number)


def _reap(deadline: float) -> bool:
    """Wait for every child until a moment; tell whether none is left."""
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not pid:
            time.sleep(0.01)
    return False


def _spent() -> float:
    """Return the CPU seconds of all processes below this one, of those that ended too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return total


def _asked(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def measured(command: list[str], seconds: float, asked: Path) -> dict[str, float]:
    """Run a command to its end and return its cost."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    code, before = None, None
    while code is None:
        if before is None and _asked(asked):
            before = _spent()
        time.sleep(_LOOK_S)
        code = process.poll()
        if code is None and time.monotonic() > deadline:
            code = _TIMED_OUT
    if code == _TIMED_OUT or not _reap(time.monotonic() + _GRACE_S):
        _end_all(signal.SIGTERM)
    if not _reap(time.monotonic() + _GRACE_S):
        _end_all(signal.SIGKILL)
        _reap(time.monotonic() + _GRACE_S)
    total = _spent()
    return {"returncode": code, "cpu_s": total, "start_cpu_s": total if before is None else before}


if __name__ == "__main__":
    told = measured(sys.argv[4:], float(sys.argv[1]), Path(sys.argv[3]))
    Path(sys.argv[2]).write_text(json.dumps(told), encoding="utf-8")
