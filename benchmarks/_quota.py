"""Caps another process's CPU time, as a container's quota does: it runs for a share of each period.

    python benchmarks/_quota.py PID SHARE

ends when that process or its own parent does, and leaves the process running.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PERIOD_S = 0.04


def cap(pid: int, share: float) -> None:
    """Let process ``pid`` run for ``share`` of each 40 ms, until it or this one's parent ends."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with contextlib.suppress(ProcessLookupError):
            while os.getppid() == parent:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(PERIOD_S * (1 - share))
                os.kill(pid, signal.SIGCONT)
                time.sleep(PERIOD_S * share)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    cap(int(sys.argv[1]), float(sys.argv[2]))
