"""Holding a folder of checkpoints for one job."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sage.errors import CheckpointError


class FolderLock:
    """A file that the system keeps locked until this process lets go of it or ends.

    Args:
        path: of the file, which is left behind; it names the process.

    Raises:
        CheckpointError: another job holds it; names the process.
        OSError: it cannot be opened or locked.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(path)
        except BaseException:
            os.close(self._file)
            raise
        _held.add(self)

    def close(self) -> None:
        """Let go of the lock."""
        if self in _held:
            _held.discard(self)
            os.close(self._file)

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            process = f"process {holder}" if holder else "another process"
            raise CheckpointError(
                f"{process} writes its checkpoints to {path.parent} already; wait for it or stop "
                "it, or give this job a folder of its own"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, b"%d\n" % os.getpid())


_held: set[FolderLock] = set()


def _let_go() -> None:
    # A child would keep the lock of a parent that was killed.
    for lock in tuple(_held):
        lock.close()


os.register_at_fork(after_in_child=_let_go)
