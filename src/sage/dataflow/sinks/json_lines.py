"""A sink that writes a line of JSON for each record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class LinesState:
    """What was written at a snapshot.

    Attributes:
        number: of the replica's file.
        size: of the file in bytes; None before it was begun.
        next: number of the first file that no replica has.
        others: files of replicas that are no more: their sizes by their numbers.
    """

    number: int
    size: int | None
    next: int
    others: Mapping[int, int] = field(default_factory=dict)


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
        self._next = 0
        self._file = self._numbered(self._number)

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Go by the job's clock."""
        self._clock = services.clock

    def open(self, context: RuntimeContext) -> None:
        """Make the folder of the file.

        Raises:
            DataflowError: it cannot be written.
        """
        alone = context.parallelism == 1
        self._next = 0 if alone else context.parallelism
        self._number = ALONE if alone else context.index
        self._file = self._numbered(self._number)
        self._file.prepare()

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
        """Write the rest: the file is whole."""
        self._write()
        self._file.commit()

    def snapshot(self) -> LinesState:
        """Put what was taken on the disk, and return how much there is."""
        self._write()
        return LinesState(self._number, self._file.sync(), self._next)

    def restore(self, state: LinesState) -> None:
        """Cut off what was written after a snapshot.

        Raises:
            DataflowError: a file is not what it was at the snapshot.
        """
        self._next = state.next
        self._file = self._numbered(state.number)
        self._number = state.number
        if state.size is not None:
            self._file.restore(state.size)
        for number, size in state.others.items():
            other = self._numbered(number)
            try:
                other.restore(size)
                other.commit()
            finally:
                other.close()

    @staticmethod
    def redistribute(states: Sequence[LinesState], parallelism: int) -> list[LinesState]:
        """Give each replica a new file, and divide those that there were: they are whole now.

        A new one, since the files of replicas that had ended are not among the states.
        """
        first = max(state.next for state in states)
        return [
            LinesState(
                first + index,
                None,
                first + parallelism,
                {state.number: state.size or 0 for state in states[index::parallelism]},
            )
            for index in range(parallelism)
        ]

    def close(self) -> None:
        """Write what can be written, and close the file."""
        try:
            self._write()
        finally:
            self._file.close()

    def _write(self) -> None:
        self.due = None
        if self._buffer:
            self._file.write(self._buffer)

    def _numbered(self, number: int) -> OutputFile:
        name = self._path.name if number == ALONE else numbered(self._path, number)
        return OutputFile(self._path.with_name(name), append=self._append)


def numbered(path: Path, number: int) -> str:
    """Return a replica's file name: ``out.jsonl`` with its number is ``out-0.jsonl``."""
    return f"{path.stem}-{number}{path.suffix}"


def plain(value: Any) -> Any:
    """Return what JSON can say of a value that msgspec does not know: numpy's, or a tensor.

    Raises:
        TypeError: it is neither.
    """
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(
        f"a {type(value).__name__} cannot be written as JSON; map it to dicts, lists, texts and "
        "numbers first"
    )
