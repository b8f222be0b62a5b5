"""A sink that writes a line of JSON for each record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import Bound, Timed
from sage.dataflow.meter import Meter
from sage.dataflow.sinks.output_file import OutputFile

BUFFER = 256 * 1024
# Seconds that a line may wait for others before it is in the file.
LINGER = 1.0
# The number of the only replica's file, whose name has none.
ALONE = -1


class JsonLinesSink(SinkFunction, Timed, Bound):
    """Writes records to a file, or to one for each replica, each with its number in the name.

    Args:
        path: of the file.
        append: write behind what it holds.
    """

    def __init__(self, path: Path, append: bool = False) -> None:
        super().__init__()
        self._path = path
        self._append = append
        self._encode = msgspec.json.Encoder(enc_hook=plain).encode_into
        self._buffer = bytearray()
        self._clock: Callable[[], float] = time.perf_counter
        self._number = ALONE
        # By number: this replica's file, and those of replicas that a checkpoint had and that are
        # no more.
        self._files: dict[int, OutputFile] = {}

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Go by the job's clock."""
        self._clock = services.clock

    def open(self, context: RuntimeContext) -> None:
        """Open the file.

        Raises:
            DataflowError: it cannot be written.
        """
        self._number = context.index if context.parallelism > 1 else ALONE
        self._file(self._number)

    def execute(self, data: Any) -> None:
        """Take one record.

        Raises:
            DataflowError: the records before it cannot be written; it was not taken.
            TypeError: it cannot be JSON.
        """
        buffer = self._buffer
        size = len(buffer)
        if size >= BUFFER:
            self._write()
            size = 0
        elif not size:
            self.due = self._clock() + LINGER
        try:
            self._encode(data, buffer, -1)
        except BaseException:
            del buffer[size:]
            raise
        buffer += b"\n"

    def wake(self) -> list[Any]:
        """Write what has waited long enough."""
        self._write()
        return []

    def flush(self) -> None:
        """Write the rest: the files are whole."""
        self._write()
        for file in self._files.values():
            file.commit()
        self._files.clear()

    def snapshot(self) -> dict[int, int]:
        """Put what was taken on the disk, and return each file's size in bytes by its number."""
        self._write()
        return {number: file.sync() for number, file in self._files.items()}

    def restore(self, state: dict[int, int]) -> None:
        """Cut off what was written after a snapshot.

        Raises:
            DataflowError: a file is not what it was at the snapshot.
        """
        for number, size in state.items():
            self._file(number).restore(size)

    @staticmethod
    def redistribute(states: Sequence[dict[int, int]], parallelism: int) -> list[dict[int, int]]:
        """Give each replica its own file, and divide those of replicas that are no more."""
        sizes = {number: size for state in states for number, size in state.items()}
        return [
            {
                number: size
                for number, size in sizes.items()
                if max(number, 0) % parallelism == index
            }
            for index in range(parallelism)
        ]

    def close(self) -> None:
        """Write what can be written, and close the files."""
        try:
            if self._buffer and self._files:
                self._write()
        finally:
            for file in self._files.values():
                file.close()

    def _write(self) -> None:
        self.due = None
        if self._buffer:
            self._files[self._number].write(self._buffer)

    def _file(self, number: int) -> OutputFile:
        if number not in self._files:
            name = self._path.name if number == ALONE else numbered(self._path, number)
            self._files[number] = OutputFile(self._path.with_name(name), append=self._append)
            self._files[number].open()
        return self._files[number]


def numbered(path: Path, number: int) -> str:
    """Return a replica's file name: ``out.jsonl`` with its number is ``out-0.jsonl``."""
    return f"{path.stem}-{number}{path.suffix}"


def plain(value: Any) -> Any:
    """Return what JSON can say of a value that msgspec does not know: numpy's, or a tensor.

    Raises:
        TypeError: nothing.
    """
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(
        f"a {type(value).__name__} cannot be written as JSON; map it to dicts, lists, texts and "
        "numbers first"
    )
