"""Request traces: who asked for how much, when.

Read are the CSV of the Azure LLM inference traces (TIMESTAMP, ContextTokens, GeneratedTokens),
that of BurstGPT (Timestamp in seconds, Request tokens, Response tokens), the JSON lines of
Mooncake (timestamp in ms, input_length, output_length, hash_ids: one id for each block of 512
prompt tokens, equal ids being equal text), and the folders of ServeGen.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from sage.benchmark.servegen import read_servegen
from sage.benchmark.trace_record import TraceRecord, trace_text
from sage.errors import ConfigError

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_MOST_TOKENS = 10_000_000
_BURSTGPT = ("Timestamp", "Request tokens", "Response tokens")


class _MooncakeLine(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] = ()


def read_trace(
    path: Path, *, limit: int | None = None, start_s: float = 0.0, seed: int = 0
) -> list[TraceRecord]:
    """Read a trace, its kind told by the first line; times start at 0 and never go back.

    Args:
        path: the file, or the folder of ServeGen.
        limit: most records to read; None is all.
        start_s: seconds of the trace, from its own beginning, that are passed over.
        seed: of what is drawn, where a trace gives distributions.

    Raises:
        ConfigError: names the line, and the column where there is one.
    """
    if path.is_dir():
        records = read_servegen(path, seed=seed, start_s=start_s, limit=limit)
    else:
        records = _read_file(path, limit, start_s)
    if not records:
        after = f" after second {start_s:g}" if start_s else ""
        raise ConfigError(f"trace {path} has no requests{after}")
    start = records[0].at
    return [replace(record, at=record.at - start) for record in records]


def _read_file(path: Path, limit: int | None, start_s: float) -> list[TraceRecord]:
    text = trace_text(path)
    if not text.strip():
        raise ConfigError(f"trace {path} is empty")
    read = _mooncake if text.lstrip().startswith("{") else _table
    records: list[TraceRecord] = []
    begin = last = -math.inf
    for number, record in read(text.split("\n"), path):
        if record.at < last:
            raise ConfigError(f"trace {path}, line {number}: its time is before the line above")
        if math.isinf(begin):
            begin = record.at
        last = record.at
        if record.at - begin >= start_s:
            records.append(record)
            if len(records) == limit:
                break
    return records


def scaled(records: list[TraceRecord], factor: float) -> list[TraceRecord]:
    """Return the records replayed ``factor`` times as fast.

    Raises:
        ConfigError: the factor is not positive.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"time scale is {factor}; it must be a positive number")
    return [replace(record, at=record.at / factor) for record in records]


def repeated(records: list[TraceRecord], count: int) -> list[TraceRecord]:
    """Return ``count`` requests: the trace as often as that takes, one mean gap in between.

    Blocks of one repetition are not those of another, so that no cache gains from it.

    Raises:
        ConfigError: the trace has no requests, or the count is below 1.
    """
    if not records or count < 1:
        raise ConfigError(f"{len(records)} requests cannot be repeated to make {count}")
    size = len(records)
    span = records[-1].at * size / max(1, size - 1)
    ids = 1 + max((max(record.blocks, default=0) for record in records), default=0)
    return [
        replace(
            record,
            at=record.at + span * turn,
            blocks=tuple(block + ids * turn for block in record.blocks),
        )
        for turn in range(-(-count // size))
        for record in records[: count - turn * size]
    ]


def _table(lines: list[str], path: Path) -> Iterator[tuple[int, TraceRecord]]:
    """Read either CSV, told apart by the name of the column with the times."""
    rows = csv.reader(lines)
    header = [name.strip() for name in next(rows)]
    burst = _BURSTGPT[0] in header
    names = _BURSTGPT if burst else _AZURE
    moment = _seconds if burst else _moment
    missing = [name for name in names if name not in header]
    if missing:
        raise ConfigError(
            f"trace {path}, line 1: no column {missing[0]}; it has {', '.join(header)}"
        )
    columns = [header.index(name) for name in names]
    for row in rows:
        if not row:
            continue
        number = rows.line_num
        where = f"trace {path}, line {number}"
        if len(row) != len(header):
            raise ConfigError(f"{where} has {len(row)} columns, not {len(header)}; is it torn?")
        at, prompt, output = (row[column] for column in columns)
        yield (
            number,
            TraceRecord(
                moment(at, f"{where}, column {names[0]}"),
                _tokens(prompt, f"{where}, column {names[1]}"),
                _tokens(output, f"{where}, column {names[2]}"),
            ),
        )


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number of seconds") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ConfigError(f"{where}: {text.strip()} is not a time; it must be at least 0")
    return seconds


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
    return _in_range(count, where)


def _in_range(count: int, where: str) -> int:
    if count < 0:
        raise ConfigError(f"{where}: {count} is negative")
    if count > _MOST_TOKENS:
        raise ConfigError(f"{where}: {count} is more than any model takes ({_MOST_TOKENS})")
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
        if item.timestamp < 0:
            raise ConfigError(f"{where}, column timestamp: {item.timestamp} is negative")
        yield (
            number,
            TraceRecord(
                item.timestamp / 1000,
                _in_range(item.input_length, f"{where}, column input_length"),
                _in_range(item.output_length, f"{where}, column output_length"),
                item.hash_ids,
            ),
        )
