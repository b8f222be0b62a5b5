"""Traces are read as published, and what is wrong with one is said with its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sage.benchmark.trace_record import TraceRecord
from sage.benchmark.traces import read_trace, scaled
from sage.errors import ConfigError

_AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2220000,0,7"""
_MOONCAKE = """{"timestamp": 1000, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]}
{"timestamp": 1250, "input_length": 20, "output_length": 3, "hash_ids": [0]}
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "trace"
    path.write_text(text)
    return path


def test_azure_with_its_last_line_unended(tmp_path: Path) -> None:
    """Seven digits of a second, and no newline after the last row; an empty prompt has a token."""
    records = read_trace(_write(tmp_path, _AZURE))
    assert [(r.prompt_tokens, r.output_tokens) for r in records] == [(374, 44), (396, 109), (1, 7)]
    assert [r.at for r in records] == pytest.approx([0, 4.314579, 4.54141], abs=2e-6)


def test_mooncake_in_seconds_from_its_first_request(tmp_path: Path) -> None:
    """Milliseconds become seconds, and the block ids are kept."""
    assert read_trace(_write(tmp_path, _MOONCAKE)) == [
        TraceRecord(0.0, 1030, 5, (0, 1, 2)),
        TraceRecord(0.25, 20, 3, (0,)),
    ]


def test_a_limit_and_a_time_scale(tmp_path: Path) -> None:
    """At scale 2 a trace takes half its time."""
    records = read_trace(_write(tmp_path, _MOONCAKE), limit=2)
    assert [record.at for record in scaled(records, 2.0)] == [0, 0.125]
    assert len(read_trace(_write(tmp_path, _MOONCAKE), limit=1)) == 1
    with pytest.raises(ConfigError, match="time scale is 0"):
        scaled(records, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("TIMESTAMP,ContextTokens\n", "line 1: no column GeneratedTokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests"),
        (_AZURE + "\n2023-11-16 18:16:00,3", "line 5 has 2 columns, not 3"),
        (_AZURE.replace("396", "-1"), "line 3, column ContextTokens: -1 is negative"),
        (_AZURE.replace("109", "nan"), "line 3, column GeneratedTokens: 'nan'"),
        (_AZURE.replace("18:15:50.9951690", "noon"), "line 3, column TIMESTAMP: '2023-11-16 noon'"),
        (_AZURE.replace("18:15:50", "18:15:40"), "line 3: its time is before"),
        (_MOONCAKE.replace("1250", "NaN"), "line 2"),
        (_MOONCAKE.replace("1250", "-5"), "line 2, column timestamp: -5"),
        (_MOONCAKE.replace('"input_length": 20, ', ""), "line 2: .*input_length"),
        (_MOONCAKE.rstrip()[:-6], "line 2"),
        (_MOONCAKE.replace('"input_length": 20', '"input_length": "20"'), "line 2: .*input_length"),
        (_MOONCAKE.replace("20,", "20000000,"), "line 2, column input_length: 20000000 is more"),
        (_MOONCAKE.replace("1250", "250"), "line 2: its time is before"),
        (_MOONCAKE.replace('{"timestamp": 1250', "[1250"), "line 2"),
        (_AZURE.replace("44", "44.5"), "line 2, column GeneratedTokens: '44.5' is not a whole"),
        (_AZURE.replace("374", ""), "line 2, column ContextTokens: ''"),
        ("time,prompt,answer\n1,2,3\n", "line 1: no column TIMESTAMP; it has time, prompt, answer"),
        ("Timestamp,Request tokens\n", "line 1: no column Response tokens"),
    ],
)
def test_a_bad_trace_is_refused_with_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    """Missing columns, negative and absent numbers, a torn last line."""
    with pytest.raises(ConfigError, match=says):
        read_trace(_write(tmp_path, text))


@pytest.mark.parametrize("good", [_AZURE.encode(), _MOONCAKE.encode()])
def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path: Path, good: bytes) -> None:
    """A compressed file, or a line that was overwritten: the line and the byte in it are named."""
    path = tmp_path / "trace"
    path.write_bytes(good.splitlines()[0] + b"\n2\xff3")
    with pytest.raises(ConfigError, match="line 2, byte 2: not text"):
        read_trace(path)
    path.write_bytes(gzip.compress(good))
    with pytest.raises(ConfigError, match="line 1, byte 2: not text"):
        read_trace(path)


def test_a_trace_from_windows_reads_the_same(tmp_path: Path) -> None:
    """A mark at the beginning and carriage returns are no part of the first or last column."""
    path = tmp_path / "trace"
    path.write_bytes(b"\xef\xbb\xbf" + _AZURE.replace("\n", "\r\n").encode())
    assert read_trace(path) == read_trace(_write(tmp_path, _AZURE))


def test_the_beginning_can_be_passed_over(tmp_path: Path) -> None:
    """What comes first after it is at 0, and counts against the limit."""
    path = _write(tmp_path, _AZURE)
    later = read_trace(path, start_s=4.4)
    assert [(record.at, record.prompt_tokens) for record in later] == [(0.0, 1)]
    assert [r.prompt_tokens for r in read_trace(path, start_s=4.0, limit=1)] == [396]
    with pytest.raises(ConfigError, match="has no requests after second 9"):
        read_trace(path, start_s=9)


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"none\.csv"):
        read_trace(tmp_path / "none.csv")
