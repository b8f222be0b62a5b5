"""Ends a Ray cluster that was started for one process when that process is gone.

    python -m sage.cluster.reaper FD PID:CREATED ...

FD is the read end of a pipe whose write end only that process holds. Ray has each of its processes
end with the one that started it, but some then try for minutes to tell a head that is gone as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable

import psutil

_GRACE_S = 3.0


class Reaper:
    """Watches over processes from a process of its own.

    Args:
        pids: what to end, unless it ends by itself, when this process is gone or calls `release`.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        read_end, self._lifeline = os.pipe()
        try:
            words = [f"{process.pid}:{process.create_time()!r}" for process in _families(pids)]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sage.cluster.reaper", str(read_end), *words],
                stdin=subprocess.DEVNULL,
                pass_fds=(read_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(read_end)

    def release(self) -> None:
        """End what is left of the processes; return when they are gone."""
        os.close(self._lifeline)
        self._process.wait()


def _families(pids: Iterable[int]) -> Iterable[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            yield process
            yield from process.children(recursive=True)


def main() -> None:
    """Wait for the end of the pipe, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched = list(_same(sys.argv[2:]))
    os.read(int(sys.argv[1]), 1)
    _, left = psutil.wait_procs(watched, timeout=_GRACE_S)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=_GRACE_S)


def _same(words: Iterable[str]) -> Iterable[psutil.Process]:
    for word in words:
        pid, _, created = word.partition(":")
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(created)) < 0.1:
                yield process


if __name__ == "__main__":
    main()
