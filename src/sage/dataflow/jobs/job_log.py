"""Reading a job's log while it grows and moves on from file to file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from sage.config.logs import older_log

_POLL = 0.1
_CHUNK = 1 << 16


async def read_log(
    path: Path, lines: int | None, ended: Callable[[], bool] | None
) -> AsyncIterator[bytes]:
    """Yield whole lines, several at once.

    Args:
        path: of the log's newer file, before which there may be an older one; a log that is not
            there yet has no lines.
        lines: so many of the last ones; None for all.
        ended: whether nothing is added any more, until when what is added is waited for; None for
            only what there is.
    """
    reader = _Reader(path)
    try:
        if lines is not None:
            reader.skip_to_last(lines)
        while True:
            # Asked before the rest is read, so that nothing of it is missed.
            last = ended is None or ended()
            while whole := reader.read(last=last):
                yield whole
            if last:
                return
            await asyncio.sleep(_POLL)
    finally:
        reader.close()


class _Reader:
    """Reads one file to its end, and then the one that followed it.

    A file that is open stays what it was when another takes its name, so nothing of it is missed.

    Args:
        path: of the newer file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._next: BinaryIO | None = None

    def close(self) -> None:
        """Close what is open."""
        for file in (self._file, self._next):
            if file is not None:
                file.close()

    def skip_to_last(self, lines: int) -> None:
        """Begin so many lines before the end, or with all that there are."""
        newer, older = _opened(self._path), _opened(older_log(self._path))
        if newer is not None and older is not None and _same(newer, older):
            # They have moved on in between.
            older.close()
            older = None
        for file in (newer, older):
            if file is None:
                continue
            if self._file is not None:
                if not lines:
                    file.close()
                    continue
                self._file.close()
            self._file, lines = file, _seek_last(file, lines)

    def read(self, *, last: bool) -> bytes:
        """Return whole lines; nothing when there are none for now.

        Args:
            last: whether a line that has not ended never will.
        """
        while True:
            # Nothing is added to a file that another one has followed.
            whole = _whole_lines(self._file, last=last or self._next is not None)
            if whole:
                return whole
            if self._next is None:
                self._next = self._following()
                if self._next is None:
                    return b""
            else:
                if self._file is not None:
                    self._file.close()
                self._file, self._next = self._next, None

    def _following(self) -> BinaryIO | None:
        """Open the file after the present one; None while that is the newest."""
        # In this order: should they move on in between, the older one is seen to be the newer.
        newer = _opened(self._path)
        if newer is not None and self._is_present(newer):
            newer.close()
            return None
        older = _opened(older_log(self._path))
        if older is None:
            return newer
        if self._is_present(older) or (newer is not None and _same(older, newer)):
            older.close()
            return newer
        # At the beginning, or when there were two since the last look.
        if newer is not None:
            newer.close()
        return older

    def _is_present(self, file: BinaryIO) -> bool:
        return self._file is not None and _same(file, self._file)


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))


def _seek_last(file: BinaryIO, lines: int) -> int:
    """Go to where the last lines of a file begin; return how many it is short of so many."""
    end = position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return 0
    # The end of the last line is no end of one before it.
    left = lines + 1
    if end:
        file.seek(end - 1)
        left -= file.read(1) != b"\n"
    while position > 0:
        begin = max(position - _CHUNK, 0)
        file.seek(begin)
        chunk = file.read(position - begin)
        at = len(chunk)
        while (at := chunk.rfind(b"\n", 0, at)) >= 0:
            left -= 1
            if left == 0:
                file.seek(begin + at + 1)
                return 0
        position = begin
    file.seek(0)
    return left - 1


def _whole_lines(file: BinaryIO | None, *, last: bool) -> bytes:
    """Read lines that have ended; a line longer than a chunk, or the last, goes as it is."""
    if file is None:
        return b""
    offset = file.tell()
    chunk = file.read(_CHUNK)
    whole, newline, rest = chunk.rpartition(b"\n")
    if not newline and (last or len(chunk) == _CHUNK):
        return chunk
    file.seek(offset + len(chunk) - len(rest))
    return whole + newline
