"""The formats of files: how records lie in one, and where each begins."""

from __future__ import annotations

import csv
import importlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import IO, Any

import msgspec

from sage.errors import ConfigError, DataflowError

PARQUET_ROWS = 1024


class FileFormat(StrEnum):
    """How records lie in a file."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_SUFFIXES = {
    ".txt": FileFormat.TEXT,
    ".log": FileFormat.TEXT,
    ".md": FileFormat.TEXT,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        encoding: of text, JSONL and CSV; one in which a newline is the byte it is in ASCII.
        delimiter: of CSV.
        columns: of Parquet, those to read; None reads all.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        try:
            newline = "\n".encode(self.encoding)
        except LookupError:
            raise ConfigError(f"encoding is {self.encoding!r}; there is no such encoding") from None
        if newline != b"\n":
            raise ConfigError(
                f"encoding is {self.encoding!r}, whose lines cannot be told by bytes; use utf-8 or "
                "another one that contains ASCII"
            )
        if not isinstance(self.delimiter, str) or len(self.delimiter) != 1:
            raise ConfigError(f"delimiter is {self.delimiter!r}; give one character")


# Where a record begins: the position in bytes of the unpacked file, or rows of a Parquet file; and
# the number of the line, or row, from 1. A plain tuple, since one is made for every line.
Place = tuple[int, int]
BEGINNING: Place = (0, 1)


class FormatReader(ABC):
    """Reads one open file.

    Args:
        file: it; closed by whoever opened it.
        options: how it is read.

    Attributes:
        place: where the last record that was given ended.
        began: where it began.
    """

    def __init__(self, file: IO[bytes], options: ReadOptions) -> None:
        self._file = file
        self._options = options
        self.place: Place = BEGINNING
        self.began: Place = BEGINNING
        self.unit = "line"

    @abstractmethod
    def records(self, start: Place) -> Iterator[Any]:
        """Yield the records from a place on."""


class LineReader(FormatReader):
    """Text: a record is a line, without its end."""

    def records(self, start: Place) -> Iterator[Any]:
        """Yield the lines from a place on."""
        for text in self._lines(start):
            yield text.removesuffix("\n").removesuffix("\r")

    def _lines(self, start: Place) -> Iterator[str]:
        self._file.seek(start[0])
        self.place = start
        position, line = start
        encoding = self._options.encoding
        for raw in self._file:
            text = raw.decode(encoding)
            if position == 0:
                text = text.removeprefix("\ufeff")
            self.began = self.place
            position += len(raw)
            line += 1
            self.place = (position, line)
            yield text


class JsonLinesReader(LineReader):
    """JSONL: a record is what the JSON of a line says; blank lines are none."""

    def records(self, start: Place) -> Iterator[Any]:
        """Yield the values from a place on."""
        decode = msgspec.json.Decoder().decode
        for text in self._lines(start):
            if text.strip():
                try:
                    value = decode(text)
                except msgspec.DecodeError:
                    self.place = self.began
                    raise
                yield value


class CsvReader(LineReader):
    """CSV: the first line names the columns, and a record is a dict of a row."""

    def records(self, start: Place) -> Iterator[Any]:
        """Yield the rows from a place on."""
        names, first = self._header()
        self.place = before = max(start, first)
        rows = csv.reader(self._lines(self.place), delimiter=self._options.delimiter, strict=True)
        try:
            for row in rows:
                if row:
                    self.began = before
                    yield _named(names, row)
                before = self.place
        except (csv.Error, _WrongRowError):
            self.place = before
            raise

    def _header(self) -> tuple[list[str], Place]:
        header = csv.reader(self._lines(BEGINNING), delimiter=self._options.delimiter, strict=True)
        names = next(header, [])
        if len(set(names)) < len(names):
            self.place = BEGINNING
            raise ValueError("the first line names a column twice")
        return names, self.place


class _WrongRowError(ValueError):
    """A row does not have the fields that the first line names."""


def _named(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(names):
        raise _WrongRowError(f"the row has {len(row)} fields, but {len(names)} columns are named")
    return dict(zip(names, row, strict=True))


class ParquetReader(FormatReader):
    """Parquet, by pyarrow: a record is a dict of a row."""

    def __init__(self, file: IO[bytes], options: ReadOptions) -> None:
        super().__init__(file, options)
        self.unit = "row"

    def records(self, start: Place) -> Iterator[Any]:
        """Yield the rows from a place on."""
        self.place = start
        table = _parquet().ParquetFile(self._file)
        begin = 0
        for group in range(table.num_row_groups):
            end = begin + table.metadata.row_group(group).num_rows
            if end > start[0]:
                yield from self._group(table, group, begin, start[0])
            begin = end

    def _group(self, table: Any, group: int, begin: int, start: int) -> Iterator[Any]:
        batches = table.iter_batches(
            batch_size=PARQUET_ROWS, row_groups=[group], columns=_list(self._options.columns)
        )
        position = begin
        for batch in batches:
            for row in batch.slice(max(start - position, 0)).to_pylist():
                position = max(position, start) + 1
                self.began = (position - 1, position)
                self.place = (position, position + 1)
                yield row
            position = max(position, min(start, position + batch.num_rows))


READERS: dict[FileFormat, type[FormatReader]] = {
    FileFormat.TEXT: LineReader,
    FileFormat.JSONL: JsonLinesReader,
    FileFormat.CSV: CsvReader,
    FileFormat.PARQUET: ParquetReader,
}

# What reading a file may raise that says nothing of the file or the line.
READ_ERRORS = (OSError, EOFError, ValueError, csv.Error, msgspec.DecodeError, zlib.error)


def read_format(given: str | None, files: Sequence[str]) -> FileFormat:
    """Return the format of files, by their names if it was not said.

    Raises:
        ConfigError: there is no such format, or the names do not tell one.
    """
    choices = ", ".join(repr(choice.value) for choice in FileFormat)
    if given is not None:
        try:
            return FileFormat(given)
        except ValueError:
            raise ConfigError(f"format is {given!r}; choose one of {choices}") from None
    formats = {name: _SUFFIXES.get(_suffix(name)) for name in files}
    for name, found in formats.items():
        if found is None:
            raise ConfigError(f"the name {name!r} tells no format; say format=, one of {choices}")
    if len(set(formats.values())) > 1:
        raise ConfigError(f"the files are of several formats; say format=, one of {choices}")
    return next(found for found in formats.values() if found is not None)


def check_installed(format_: FileFormat) -> None:
    """Raise `ConfigError` unless what reads a format is installed."""
    if format_ is FileFormat.PARQUET:
        _parquet()


def _suffix(name: str) -> str:
    return PurePosixPath(name.removesuffix(".gz")).suffix.lower()


def _list(columns: tuple[str, ...] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _parquet() -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError("Parquet files need pyarrow: pip install pyarrow") from None


def reading_failed(file: str, reader: FormatReader, error: Exception) -> DataflowError:
    """Return an error that names the file and the line."""
    return DataflowError(
        f"{file}, {reader.unit} {reader.place[1]}: {type(error).__name__}: {error}"
    )
