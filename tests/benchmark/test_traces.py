"""Traces are read as published, and what is wrong with one is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.benchmark.traces import TraceRecord, read_trace, scaled
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
    ],
)
def test_a_bad_trace_is_refused_with_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    """Missing columns, negative and absent numbers, a torn last line."""
    with pytest.raises(ConfigError, match=says):
        read_trace(_write(tmp_path, text))


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"none\.csv"):
        read_trace(tmp_path / "none.csv")
