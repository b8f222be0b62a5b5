"""A file that can be cut off at any moment's end, and is whole when it has its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import msgspec

from sage.errors import DataflowError

PARTIAL = ".part"
_TAIL = 64 * 1024


class OutputFile:
    """Lines of a file. Until `commit` it is ``<name>.part``, unless it is appended to.

    Args:
        path: the file's name.
        append: write behind what the file holds, and under its name.
    """

    def __init__(self, path: Path, *, append: bool) -> None:
        self._path = path
        self._append = append
        self._written_at = path if append else path.with_name(path.name + PARTIAL)
        self._file: IO[bytes] | None = None
        self._begun = False

    def prepare(self) -> None:
        """Make the folder. The file itself is made by the first of the other methods.

        Raises:
            DataflowError: the file cannot be written.
        """
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_failed(self._written_at, error) from error
        for path in (self._path, self._written_at):
            if path.is_dir():
                raise DataflowError(f"{path} cannot be written: it is a folder")
        if not os.access(folder, os.W_OK):
            raise DataflowError(f"{self._written_at} cannot be written: no permission")

    def write(self, data: bytearray) -> None:
        """Write data and take from it what was written.

        Raises:
            DataflowError: the disk is full, or the like; what was not written is still in ``data``.
        """
        try:
            self._begin()
            while data:
                with memoryview(data) as view:
                    count = self._opened().write(view)
                del data[:count]
        except OSError as error:
            raise writing_failed(self._written_at, error) from error

    def sync(self) -> int:
        """Put on the disk what was written; return the size in bytes."""
        try:
            self._begin()
            os.fsync(self._opened().fileno())
            return self._opened().seek(0, os.SEEK_END)
        except OSError as error:
            raise writing_failed(self._written_at, error) from error

    def restore(self, size: int) -> None:
        """Cut off what was written after a moment.

        Args:
            size: in bytes, at that moment.

        Raises:
            DataflowError: the file holds less, so that records of before that moment are gone.
        """
        try:
            if not self._append and self._size() < size and self._path.exists():
                # It was whole already when that moment is gone back to.
                self.close()
                self._path.replace(self._written_at)
            held = self._size()
            if held < size:
                raise DataflowError(
                    f"{self._written_at} holds {held} bytes, but the checkpoint was taken at "
                    f"{size}: the file was changed since. Start without resume="
                )
            self._opened().truncate(size)
            self._opened().seek(size)
            self._begun = True
        except OSError as error:
            raise writing_failed(self._written_at, error) from error

    def commit(self) -> None:
        """Give the file its name: it is whole."""
        self.sync()
        self.close()
        if not self._append:
            self._written_at.replace(self._path)

    def close(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            descriptor = os.open(self._written_at, os.O_RDWR | os.O_CREAT, 0o666)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
        return self._file

    def _size(self) -> int:
        return os.fstat(self._opened().fileno()).st_size

    def _begin(self) -> None:
        """Find the place of the first line, unless `restore` has."""
        if self._begun:
            return
        if not self._append:
            self._opened().truncate(0)
        elif self._size():
            self._end_last_line()
        self._opened().seek(0, os.SEEK_END)
        self._begun = True

    def _end_last_line(self) -> None:
        """Let the lines that are appended begin on one of their own.

        Raises:
            DataflowError: the last line was not written to its end.
        """
        file, end = self._opened(), self._size()
        tail, start = b"", end
        while b"\n" not in tail and start > 0:
            start = max(start - _TAIL, 0)
            file.seek(start)
            tail = file.read(end - start)
        line = tail[tail.rfind(b"\n") + 1 :]
        if not line:
            return
        try:
            msgspec.json.decode(line)
        except msgspec.DecodeError:
            raise DataflowError(
                f"{self._path} ends within a line, as a writer that was killed leaves it; cut it "
                f"off there (truncate -s {end - len(line)} {self._path}) to append to it"
            ) from None
        file.seek(end)
        file.write(b"\n")


def writing_failed(path: Path, error: OSError) -> DataflowError:
    """Return the error for a file that cannot be written."""
    return DataflowError(f"{path} cannot be written: {error.strerror or error}")
