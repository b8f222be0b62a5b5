"""Traces that only the simulator needs: BurstGPT's, and any of them many times over."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.benchmark.trace_record import TraceRecord
from sage.benchmark.traces import read_trace, repeated
from sage.errors import ConfigError

_BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,API log
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_burstgpt_in_seconds_from_its_first_request(tmp_path: Path) -> None:
    """By the names of the columns, wherever they stand; an answer has a token at least."""
    expected = [TraceRecord(0, 472, 18), TraceRecord(40.5, 1087, 230), TraceRecord(113, 417, 1)]
    assert read_trace(_write(tmp_path, _BURSTGPT)) == expected
    with_sessions = "".join(f"7,{line}\n" for line in _BURSTGPT.splitlines())
    with_sessions = with_sessions.replace("7,Timestamp", "Session ID,Timestamp", 1)
    assert read_trace(_write(tmp_path, with_sessions)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_BURSTGPT.replace("Response tokens,", ""), "line 1: no column Response tokens"),
        (_BURSTGPT.replace("45.5", "-1"), "line 3, column Timestamp: -1 is not a time"),
        (_BURSTGPT.replace("45.5", "nan"), "line 3, column Timestamp: nan is not a time"),
        (_BURSTGPT.replace("45.5", "soon"), "line 3, column Timestamp: 'soon'"),
        (_BURSTGPT.replace("45.5", "4"), "line 3: its time is before"),
        (_BURSTGPT.replace("1087", "10.5"), "line 3, column Request tokens: '10.5'"),
        (_BURSTGPT.replace(",417,API log", ""), "line 4 has 4 columns, not 6; is it torn"),
    ],
)
def test_a_bad_burstgpt_trace_is_refused_with_line_and_column(
    tmp_path: Path, text: str, says: str
) -> None:
    """Missing columns, negative and absent numbers, a torn last line."""
    with pytest.raises(ConfigError, match=says):
        read_trace(_write(tmp_path, text))


def test_a_trace_many_times_over() -> None:
    """A mean gap lies between two repetitions, and each has block ids of its own."""
    records = [TraceRecord(0.0, 10, 1, (0, 1)), TraceRecord(2.0, 20, 2, (0, 2))]
    long = repeated(records, 5)
    assert [r.at for r in long] == [0, 2, 4, 6, 8]
    assert [r.prompt_tokens for r in long] == [10, 20, 10, 20, 10]
    assert [r.blocks for r in long] == [(0, 1), (0, 2), (3, 4), (3, 5), (6, 7)]
    assert repeated(records, 1) == records[:1]
    with pytest.raises(ConfigError, match="cannot be repeated"):
        repeated([], 3)
