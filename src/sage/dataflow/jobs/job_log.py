"""Reading a job's log while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

_POLL = 0.1
_CHUNK = 1 << 16


async def read_log(
    path: Path, lines: int | None, ended: Callable[[], bool] | None
) -> AsyncIterator[bytes]:
    """Yield whole lines, several at once.

    Args:
        path: of the log; one that is not there yet has no lines.
        lines: so many of the last ones; None for all.
        ended: whether nothing is added any more, until when what is added is waited for; None for
            only what there is.
    """
    offset = 0 if lines is None else last_lines(path, lines)
    while True:
        # Asked before the rest is read, so that nothing of it is missed.
        last = ended is None or ended()
        while whole := _whole_lines(path, offset, last=last):
            yield whole
            offset += len(whole)
        if last:
            return
        await asyncio.sleep(_POLL)


def last_lines(path: Path, lines: int) -> int:
    """Return the byte at which the last lines of a file begin."""
    try:
        with path.open("rb") as file:
            return _begin_of_last(file, lines)
    except FileNotFoundError:
        return 0


def _begin_of_last(file: BinaryIO, lines: int) -> int:
    end = position = file.seek(0, 2)
    if lines == 0:
        return end
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
                return begin + at + 1
        position = begin
    return 0


def _whole_lines(path: Path, offset: int, *, last: bool) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(_CHUNK)
    except FileNotFoundError:
        return b""
    whole, newline, _ = chunk.rpartition(b"\n")
    # A line longer than a chunk, or one that will not be ended, goes as it is.
    if not newline and (last or len(chunk) == _CHUNK):
        return chunk
    return whole + newline
