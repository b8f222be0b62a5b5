"""Writes standard input to a log of bounded size: ``python -m sage.config.log_writer PATH BYTES``.

A process of its own, behind a pipe: it hears everything that a program and its children write, up
to what one says as it dies, and moves the file on under none of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from sage.config.logs import older_log

_CHUNK = 1 << 16
# Bytes by which a file may pass its share for the sake of a line that has not ended.
_SLACK = 1 << 20


class BoundedLog:
    """A log in two files, the older one full.

    Args:
        path: of the newer one; the older one has ".1" behind its name.
        limit: bytes of both together, but for the line at which each ends.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._share = limit // 2
        self._file: BinaryIO | None = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def write(self, data: bytes) -> None:
        """Append; begin a new file where a line ends that has filled the one before.

        Raises:
            OSError: it cannot be written.
        """
        while data:
            file = self._opened()
            size = os.fstat(file.fileno()).st_size
            room = self._share - size
            end = len(data)
            if end >= room:
                end = data.find(b"\n", max(room - 1, 0)) + 1 or end
            written = file.write(data[:end]) or 0
            size += written
            ended = data[written - 1 : written] == b"\n"
            data = data[written:]
            if size >= self._share and (ended or size >= self._share + _SLACK):
                self._path.replace(older_log(self._path))

    def _opened(self) -> BinaryIO:
        """Return the newer file, which another writer of the same log may have moved on."""
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
                    return self._file
            self._file.close()
        self._file = self._path.open("ab", buffering=0)
        return self._file


def main() -> None:
    """Write until the last writer has closed the pipe; what the disk refuses is counted instead."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who writes the log may have more to say at its end.
        signal.signal(number, signal.SIG_IGN)
    log = BoundedLog(Path(sys.argv[1]), int(sys.argv[2]))
    lost = 0
    while data := os.read(sys.stdin.fileno(), _CHUNK):
        try:
            if lost:
                log.write(b"(%d bytes could not be written here)\n" % lost)
                lost = 0
            log.write(data)
        except OSError:
            # Not the end: the program must not wait for a disk that is full.
            lost += len(data)


if __name__ == "__main__":
    main()
