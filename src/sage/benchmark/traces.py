"""Request traces: who asked for how much, when.

Read are the CSV of the Azure LLM inference traces (TIMESTAMP, ContextTokens, GeneratedTokens) and
the JSON lines of Mooncake (timestamp in ms, input_length, output_length, hash_ids: one id for each
block of 512 prompt tokens, equal ids being equal text).
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from sage.errors import ConfigError

BLOCK_TOKENS = 512
"""Prompt tokens that one hash id of a Mooncake trace stands for."""

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One request of a trace.

    Attributes:
        at: seconds from the first request.
        prompt_tokens: asked, at least 1.
        output_tokens: answered, at least 1.
        blocks: ids of the prompt's blocks of 512 tokens; empty when the trace has none.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


class _MooncakeLine(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] = ()


def read_trace(path: Path, *, limit: int | None = None) -> list[TraceRecord]:
    """Read a trace, its kind told by the first line; times start at 0 and never go back.

    Args:
        path: the file.
        limit: most records to read; None is all.

    Raises:
        ConfigError: names the line, and the column where there is one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"trace {path}: {error}") from None
    lines = text.splitlines()
    if not lines:
        raise ConfigError(f"trace {path} is empty")
    read = _mooncake if lines[0].lstrip().startswith("{") else _azure
    records: list[TraceRecord] = []
    for number, record in read(lines, path):
        if records and record.at < records[-1].at:
            raise ConfigError(f"trace {path}, line {number}: its time is before the line above")
        records.append(record)
        if len(records) == limit:
            break
    if not records:
        raise ConfigError(f"trace {path} has no requests")
    start = records[0].at
    return [replace(record, at=record.at - start) for record in records]


def scaled(records: list[TraceRecord], factor: float) -> list[TraceRecord]:
    """Return the records replayed ``factor`` times as fast.

    Raises:
        ConfigError: the factor is not positive.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"time scale is {factor}; it must be a positive number")
    return [replace(record, at=record.at / factor) for record in records]


def _azure(lines: list[str], path: Path) -> Iterator[tuple[int, TraceRecord]]:
    rows = csv.reader(lines)
    header = [name.strip() for name in next(rows)]
    missing = [name for name in _AZURE if name not in header]
    if missing:
        raise ConfigError(
            f"trace {path}, line 1: no column {missing[0]}; it has {', '.join(header)}"
        )
    columns = [header.index(name) for name in _AZURE]
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        where = f"trace {path}, line {number}"
        if len(row) != len(header):
            raise ConfigError(f"{where} has {len(row)} columns, not {len(header)}; is it torn?")
        at, prompt, output = (row[column] for column in columns)
        yield (
            number,
            TraceRecord(
                _moment(at, f"{where}, column TIMESTAMP"),
                _tokens(prompt, f"{where}, column ContextTokens"),
                _tokens(output, f"{where}, column GeneratedTokens"),
            ),
        )


def _moment(text: str, where: str) -> float:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a time like 2023-11-16 18:15:46.68") from None
    # The traces' times have no zone; only differences are used.
    return moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()


def _tokens(text: str, where: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a whole number") from None
    if count < 0:
        raise ConfigError(f"{where}: {count} is negative")
    return max(1, count)


def _mooncake(lines: list[str], path: Path) -> Iterator[tuple[int, TraceRecord]]:
    decoder = msgspec.json.Decoder(_MooncakeLine)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"trace {path}, line {number}"
        try:
            item = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{where}: {error}") from None
        for name in ("timestamp", "input_length", "output_length"):
            if getattr(item, name) < 0:
                raise ConfigError(f"{where}, column {name}: {getattr(item, name)} is negative")
        yield (
            number,
            TraceRecord(
                item.timestamp / 1000,
                max(1, item.input_length),
                max(1, item.output_length),
                item.hash_ids,
            ),
        )
