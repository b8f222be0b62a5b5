"""The log files of engines."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 16 << 20
_TAIL_BYTES = 64 << 10
_BYTES_A_LINE = 256


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to; one past 16 MiB is moved aside first, replacing the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        path.replace(older_log(path))
    return path.open("ab")


def older_log(path: Path) -> Path:
    """Return where a log goes that is moved aside."""
    return path.with_name(f"{path.name}.1")


def tail(path: Path, lines: int, *, start: int = 0) -> list[str]:
    """Return the last lines of a log, oldest first, looking no further back than ``start``.

    Args:
        path: the file; a missing one has no lines.
        lines: how many at the most.
        start: byte offset at which the part of interest begins.
    """
    try:
        with path.open("rb") as file:
            begin = file.seek(0, 2) - max(_TAIL_BYTES, lines * _BYTES_A_LINE)
            file.seek(max(start, begin))
            if begin > start:
                file.readline()  # most likely the second half of a line
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return list(deque((line for line in text.splitlines() if line.strip()), maxlen=lines))
