"""Dead letters as lines of JSON."""

from __future__ import annotations

import json
import sys
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any

from sage.dataflow.dead_letters import DeadLetter
from sage.errors import ConfigError, shorten


class LetterFile:
    """Appends each dead letter to a file, as a line, at once.

    A line is an object with ``time`` (seconds since the epoch), ``operator``, ``attempts``,
    ``error`` (the type's name), ``message``, ``record``, and ``repr``: whether the record is given
    by its ``repr()``, JSON having no way to write it.

    Args:
        path: of the file; what is in it stays.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(fspath(path))
        self._file: IO[str] | None = None

    def open(self) -> None:
        """Open the file.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"dead letters cannot be written to {str(self._path)!r}: {error.strerror}; give "
                "on_dead_letter() the path of a file in a folder that exists"
            ) from error

    def execute(self, letter: DeadLetter) -> None:
        """Write one."""
        assert self._file is not None
        self._file.write(letter_line(letter) + "\n")
        # A job that is killed has its dead letters all the same.
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def letter_line(letter: DeadLetter) -> str:
    """Return a dead letter as JSON."""
    head: dict[str, Any] = {
        "time": letter.time,
        "operator": letter.operator,
        "attempts": letter.attempts,
        "error": type(letter.error).__name__,
        "message": str(letter.error),
    }
    try:
        # NaN and lone surrogates are no JSON, whatever Python's encoder makes of them.
        line = json.dumps(
            {**head, "record": letter.record, "repr": False}, ensure_ascii=False, allow_nan=False
        )
        line.encode()
    except (TypeError, ValueError, RecursionError):
        record = shorten(letter.record, sys.maxsize)
        return json.dumps({**head, "record": record, "repr": True})
    return line
