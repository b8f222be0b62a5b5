"""One Parquet file: written beside its name, which it gets when it is whole."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sage.dataflow.sinks.output_file import PARTIAL, writing_failed

GROUP_BYTES = 64 * 1024 * 1024


class ParquetPart:
    """Writes batches as row groups.

    Args:
        path: the file's name.
        schema: of all batches.
        rows_per_group: most rows of a row group; one of 64 MiB is full too.

    Raises:
        DataflowError: the file cannot be written.
    """

    def __init__(self, path: Path, schema: Any, rows_per_group: int) -> None:
        self._arrow = importlib.import_module("pyarrow")
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL)
        self._schema = schema
        self._rows_per_group = rows_per_group
        self._group: list[Any] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._rows = 0
        with self._errors():
            self._file = self._partial.open("wb")
            self._writer = importlib.import_module("pyarrow.parquet").ParquetWriter(
                self._file, schema
            )

    def write(self, batch: Any) -> None:
        """Take a batch.

        Raises:
            DataflowError: the disk is full, or the like.
        """
        self._group.append(batch)
        self._group_rows += batch.num_rows
        self._group_bytes += batch.nbytes
        if self._group_rows >= self._rows_per_group or self._group_bytes >= GROUP_BYTES:
            self._write_group()

    def write_group(self, table: Any) -> None:
        """Write a row group.

        Raises:
            DataflowError: the disk is full, or the like.
        """
        with self._errors():
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._rows += table.num_rows

    def commit(self) -> int:
        """Give the file its name: it is whole. Return its rows.

        Raises:
            DataflowError: the disk is full, or the like.
        """
        self._write_group()
        with self._errors():
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
        return self._rows

    def abandon(self) -> None:
        """Delete the file."""
        # A disk that was too full for the rows is too full for the file's end, which is not needed.
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if not self._group:
            return
        table = self._arrow.Table.from_batches(self._group, schema=self._schema)
        for start in range(0, table.num_rows, self._rows_per_group):
            self.write_group(table.slice(start, self._rows_per_group))
        self._group, self._group_rows, self._group_bytes = [], 0, 0

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise writing_failed(self._partial, error) from error


def merge(parts: Sequence[Path], path: Path, schema: Any) -> None:
    """Make one file of parts, row group by row group, and delete them.

    Args:
        parts: in the order of their rows.
        path: the file's name.
        schema: of all parts; None when there are none.

    Raises:
        DataflowError: the file cannot be written.
    """
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    if len(parts) == 1:
        parts[0].replace(path)
        return
    whole = ParquetPart(path, arrow.schema([]) if schema is None else schema, 1)
    try:
        for part in parts:
            with parquet.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    whole.write_group(file.read_row_group(group))
        whole.commit()
    except BaseException:
        whole.abandon()
        raise
    for part in parts:
        part.unlink()


def rebuild(path: Path, rows: int, part: Path) -> None:
    """Make a part of a file's first rows.

    Raises:
        DataflowError: the part cannot be written.
    """
    parquet = importlib.import_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        made = ParquetPart(part, file.schema_arrow, 100_000)
        left = rows
        for batch in file.iter_batches():
            if left <= 0:
                break
            made.write(batch.slice(0, left))
            left -= batch.num_rows
        made.commit()
