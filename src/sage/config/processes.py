"""Whether a process that was started once is still there."""

from __future__ import annotations

import psutil


def created(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch, or None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def is_process(pid: int, pid_created: float) -> bool:
    """Whether this very process is still running; a zombie is not."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The kernel's clock ticks are coarse; two reads of one process differ by a rounding.
        return abs(process.create_time() - pid_created) < 0.1
    except psutil.Error:
        return False
