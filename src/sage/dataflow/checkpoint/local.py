"""A folder of checkpoints on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from sage.dataflow.checkpoint.lock import FolderLock

_TEMPORARY = ".tmp"


class LocalFolder:
    """A folder that one job at a time writes to; see `Folder`.

    It is made if it is not there, and rid of the unfinished files of a process that was killed.

    Args:
        path: of the folder.

    Raises:
        CheckpointError: another job uses it.
        OSError: it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        # The process may go to another working directory later.
        self._path = path.absolute()
        _make(self._path)
        self._lock = FolderLock(self._path / "lock")
        try:
            for name in self.names():
                if name.endswith(_TEMPORARY):
                    self.remove(name)
        except BaseException:
            self._lock.close()
            raise

    def path(self, name: str = "") -> str:
        """Return a file's path, or the folder's."""
        return str(self._path / name)

    def names(self) -> list[str]:
        """Return the names of its files."""
        return [path.name for path in self._path.iterdir()]

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file under another name, then give it its own."""
        temporary = self._path / f"{name}{_TEMPORARY}"
        try:
            with temporary.open("wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path / name)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(self._path)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return (self._path / name).open("rb")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._path / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let another job use the folder."""
        self._lock.close()


def _make(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync(path.parent)


def _sync(folder: Path) -> None:
    # A new name is on the disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
