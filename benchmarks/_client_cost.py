"""Runs a command and tells what all of its processes cost.

    python benchmarks/_client_cost.py SECONDS FILE COMMAND...

A load client of many processes may end without waiting for some of them, and their CPU time is
then lost to its parent. Here such an orphan comes to this process, which waits for it. After
SECONDS the command is ended. FILE is given JSON: ``returncode``, ``cpu_s``, ``wall_s``.
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
_GRACE_S = 5.0


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


def measured(command: list[str], seconds: float) -> dict[str, float]:
    """Run a command to its end and return its cost."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begun = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = 124
    wall = time.monotonic() - begun
    if code == 124 or not _reap(time.monotonic() + _GRACE_S):
        _end_all(signal.SIGTERM)
    if not _reap(time.monotonic() + _GRACE_S):
        _end_all(signal.SIGKILL)
        _reap(time.monotonic() + _GRACE_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"returncode": code, "cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall}


if __name__ == "__main__":
    told = measured(sys.argv[3:], float(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(told), encoding="utf-8")
