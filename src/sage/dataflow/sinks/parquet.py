"""A sink that writes Parquet: one file at the end, or a folder of parts as they are done."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage.dataflow.checks import check_count
from sage.dataflow.context import RuntimeContext
from sage.dataflow.files.formats import FileFormat, check_installed
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.sinks.parquet_part import ParquetPart, merge, rebuild
from sage.dataflow.sinks.row_batches import RowBatches
from sage.errors import ConfigError, DataflowError

PARTS = ".parts"
_PART_NAME = re.compile(r"part-(\d+)-(\d+)\.parquet(\.part)?")


@dataclass(frozen=True, slots=True)
class ParquetState:
    """What was written at a snapshot.

    Attributes:
        number: in the names of the replica's parts.
        parts: how many there are.
        rows: in these parts.
        next: the first number that no replica has.
        schema: of all parts; None before the first.
        unused: the first number that no replica had; what has it or a later one came later.
        others: of replicas that are no more: how many parts by their numbers.
    """

    number: int
    parts: int
    rows: int
    next: int
    schema: Any = None
    unused: int | None = None
    others: Mapping[int, int] = field(default_factory=dict)


class ParquetSink(SinkFunction):
    """Writes records, dicts of columns, as rows.

    A snapshot ends a part, so that going on from it needs only to delete the parts that came after.

    Args:
        path: a file, written when the input has ended; or a folder, in which every part is whole as
            soon as it has its name.
        folder: whether it is a folder.
        schema: a `pyarrow.Schema`; None infers it from the first 1,024 records.
        rows_per_group: most rows of a row group.
    """

    def __init__(
        self, path: Path, folder: bool, schema: Any = None, rows_per_group: int = 100_000
    ) -> None:
        super().__init__()
        check_installed(FileFormat.PARQUET)
        check_count("rows_per_group", rows_per_group)
        if schema is not None and not isinstance(schema, _schema_type()):
            raise ConfigError(f"schema is a {type(schema).__name__}; give a pyarrow.Schema")
        self._path = path
        self._folder = folder
        self._parts_folder = path if folder else path.with_name(path.name + PARTS)
        self._rows_per_group = rows_per_group
        self._batches = RowBatches(schema)
        self._index = 0
        self._parallelism = 1
        self._number = 0
        self._next = 1
        self._parts = 0
        self._rows = 0
        self._part: ParquetPart | None = None
        self._begun = False

    def open(self, context: RuntimeContext) -> None:
        """Make the folder.

        Raises:
            DataflowError: it cannot be made.
        """
        self._index, self._parallelism = context.index, context.parallelism
        self._number, self._next = context.index, context.parallelism
        try:
            self._parts_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataflowError(f"{self._parts_folder} cannot be made: {error.strerror}") from error

    def execute(self, data: Any) -> None:
        """Take one record.

        Raises:
            DataflowError: it does not fit the columns, or rows cannot be written.
        """
        if self._batches.add(data):
            self._write()

    def flush(self) -> None:
        """Write the rest; a single file gets its name."""
        self._end_part()
        if not self._folder:
            names = [self._part_path(part) for part in range(self._parts)]
            merge(names, self._path, self._batches.schema)
            self._parts_folder.rmdir()

    def snapshot(self) -> ParquetState:
        """End the part, and return how many there are."""
        self._end_part()
        return ParquetState(self._number, self._parts, self._rows, self._next, self._batches.schema)

    def restore(self, state: ParquetState) -> None:
        """Delete the parts that came after a snapshot.

        Raises:
            DataflowError: a part of before it is not there.
        """
        self._number, self._parts, self._next = state.number, state.parts, state.next
        self._rows = state.rows
        self._batches = RowBatches(state.schema or self._batches.schema)
        kept = {**state.others, self._number: self._parts}
        missing = [
            path
            for number, parts in kept.items()
            for path in (self._part_path(part, number) for part in range(parts))
            if not path.exists()
        ]
        if missing and not self._folder and self._path.exists():
            # It was one file already when that moment is gone back to.
            rebuild(self._path, state.rows, self._part_path(0))
            self._parts = kept[self._number] = 1
        elif missing:
            raise DataflowError(
                f"{missing[0]} is not there, which was written before the checkpoint; start "
                "without resume="
            )
        self._begin(kept, state.next if state.unused is None else state.unused)

    @staticmethod
    def redistribute(states: Sequence[ParquetState], parallelism: int) -> list[ParquetState]:
        """Give each replica a new number, and divide the parts of those that there were.

        A new one, since the parts of replicas that had ended are not among the states.
        """
        first = max(state.next for state in states)
        schema = next((state.schema for state in states if state.schema is not None), None)
        return [
            ParquetState(
                first + index,
                0,
                0,
                first + parallelism,
                schema,
                first,
                {state.number: state.parts for state in states[index::parallelism]},
            )
            for index in range(parallelism)
        ]

    def close(self) -> None:
        """Delete the part that was not ended, which nothing could read."""
        if self._part is not None:
            self._part.abandon()
            self._part = None
        if (
            not self._folder
            and self._parts_folder.exists()
            and not any(self._parts_folder.iterdir())
        ):
            self._parts_folder.rmdir()

    def _end_part(self) -> None:
        self._write()
        if self._part is not None:
            self._rows += self._part.commit()
            self._part = None
            self._parts += 1

    def _write(self) -> None:
        self._begin({}, 0)
        batch = self._batches.take()
        if batch is None:
            return
        if self._part is None:
            self._part = ParquetPart(
                self._part_path(self._parts), batch.schema, self._rows_per_group
            )
        self._part.write(batch)

    def _begin(self, kept: Mapping[int, int], unused: int) -> None:
        """Delete what lies in the folder from later, or from another job; at the first call only.

        Args:
            kept: how many parts are kept, by number.
            unused: the first number of which none is kept; replicas divide these.
        """
        if self._begun:
            return
        for path, number, part, partial in self._found():
            mine = number in kept or (
                number >= unused and (number - unused) % self._parallelism == self._index
            )
            if mine and (partial or part >= kept.get(number, 0)):
                path.unlink()
        self._begun = True

    def _found(self) -> Iterator[tuple[Path, int, int, bool]]:
        for path in tuple(self._parts_folder.iterdir()):
            match = _PART_NAME.fullmatch(path.name)
            if match is not None:
                yield path, int(match[1]), int(match[2]), match[3] is not None

    def _part_path(self, part: int, number: int | None = None) -> Path:
        number = self._number if number is None else number
        return self._parts_folder / f"part-{number}-{part:05}.parquet"


def _schema_type() -> type:
    schema_type: type = importlib.import_module("pyarrow").Schema
    return schema_type
