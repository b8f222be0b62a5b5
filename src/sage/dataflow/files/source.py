"""A source that reads files, and can begin again at any record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from sage.dataflow.context import RuntimeContext
from sage.dataflow.files.formats import (
    BEGINNING,
    READ_ERRORS,
    READERS,
    FileFormat,
    FormatReader,
    Place,
    ReadOptions,
    reading_failed,
)
from sage.dataflow.files.locate import is_url, open_file
from sage.dataflow.functions.edges import BatchFunction
from sage.dataflow.lifecycle import Finite
from sage.errors import DataflowError


class FileOffset(NamedTuple):
    """Where in the files a record begins.

    Attributes:
        file: its path or URL.
        position: in bytes of the unpacked file, or rows of a Parquet file.
        line: its number, or that of the row, from 1.
    """

    file: str
    position: int
    line: int


class FileRecord(NamedTuple):
    """A record with where it begins.

    Attributes:
        data: the record.
        offset: where it begins.
    """

    data: Any
    offset: FileOffset


class FileSource(BatchFunction, Finite):
    """Gives the records of files, one file after the other; replicas share out the files.

    Args:
        files: paths and URLs.
        format_: of all of them.
        read: how they are read.
        offsets: give `FileRecord` records.
    """

    def __init__(
        self, files: tuple[str, ...], format_: FileFormat, read: ReadOptions, offsets: bool = False
    ) -> None:
        super().__init__()
        self._files = files
        self._format = format_
        self._read = read
        self._offsets = offsets
        self._index = 0
        self._start: Place = BEGINNING
        self._reader: FormatReader | None = None
        self._records: Iterator[Any] | None = None
        self._ends: list[int] | None = None

    def open(self, context: RuntimeContext) -> None:
        """Take this replica's share of the files."""
        self._files = self._files[context.index :: context.parallelism]
        # What is packed, or not read by the byte, has no length that could be known beforehand.
        if self._format is not FileFormat.PARQUET and not any(
            is_url(name) or name.endswith(".gz") for name in self._files
        ):
            sizes = (path.stat().st_size for path in map(Path, self._files) if path.exists())
            self._ends = list(accumulate(sizes))

    def progress(self) -> tuple[int, int] | None:
        """Return the bytes read and those of all files; None where they are not known."""
        ends, index, reader = self._ends, self._index, self._reader
        if not ends:
            return None
        if index >= len(self._files):
            return ends[-1], ends[-1]
        before = ends[index - 1] if 0 < index <= len(ends) else 0
        return before + (reader.place if reader else self._start)[0], ends[-1]

    def offset(self) -> FileOffset | None:
        """Return where the next record begins; None when every record was given."""
        if self._index >= len(self._files):
            return None
        place = self._reader.place if self._reader else self._start
        return FileOffset(self._files[self._index], *place)

    def seek(self, offset: FileOffset | None) -> None:
        """Go on from an offset, or from the end where it is None; after ``open``.

        Raises:
            DataflowError: its file is not one of this replica's.
        """
        if offset is None:
            self._index, self._reader, self._records = len(self._files), None, None
            return
        if offset.file not in self._files:
            raise DataflowError(f"{offset.file!r} is not among the files of this source")
        self._index = self._files.index(offset.file)
        self._start = (offset.position, offset.line)
        self._reader = self._records = None

    def execute(self) -> Any:
        """Return the next record, or None when there are no more."""
        if self._records is None:
            self._records = iter(self)
        return next(self._records, None)

    def __iter__(self) -> Iterator[Any]:
        while self._index < len(self._files):
            yield from self._file(self._files[self._index])
            self._reader, self._start = None, BEGINNING
            self._index += 1

    def _file(self, name: str) -> Iterator[Any]:
        with closing(open_file(name)) as file:
            reader = READERS[self._format](file, self._read)
            self._reader = reader
            try:
                records = reader.records(self._start)
                yield from self._located(name, records) if self._offsets else records
            except READ_ERRORS as error:
                raise reading_failed(name, reader, error) from error

    def _located(self, name: str, records: Iterator[Any]) -> Iterator[FileRecord]:
        assert self._reader is not None
        for record in records:
            yield FileRecord(record, FileOffset(name, *self._reader.began))
