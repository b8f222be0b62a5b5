"""Requests are drawn from ServeGen's folders as their data says, and errors name their place."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.servegen import read_servegen
from sage.benchmark.traces import read_trace
from sage.errors import ConfigError

_BURSTY = "0,0.5,3.0,Gamma,0.1,20.0\n600,0,0,,0,0\n1200,0.1,1.1,Weibull,0.9,9.0\n"
_STEADY = "0,0.25,0.5,Gamma,4.0,1.0\n600,0,0,,0,0\n1200,0,0,,0,0\n"
_LENGTHS = {"0": {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": "{0: 0.25, 7: 0.75}"}}


def _write(folder: Path, trace: str = _BURSTY, lengths: Any = None, *, client: int = 0) -> Path:
    (folder / f"chunk-{client}-trace.csv").write_text(trace)
    text = json.dumps(_LENGTHS if lengths is None else lengths)
    (folder / f"chunk-{client}-dataset.json").write_text(text)
    return folder


def test_each_window_has_as_many_requests_as_the_data_says(tmp_path: Path) -> None:
    """Rate times ten minutes of each client, in one order, with lengths by their shares."""
    _write(tmp_path)
    _write(tmp_path, _STEADY, client=1)
    records = read_servegen(tmp_path, seed=1)
    times = [record.at for record in records]
    assert times == sorted(times)
    assert [sum(low <= at < low + 600 for at in times) for low in (0, 600, 1200)] == [450, 0, 60]
    assert {record.prompt_tokens for record in records} == {100, 300}
    short = sum(record.output_tokens == 1 for record in records)
    assert short / len(records) == pytest.approx(0.25, abs=0.06)
    long = sum(record.prompt_tokens == 300 for record in records)
    assert long / len(records) == pytest.approx(0.5, abs=0.07)


def test_the_form_of_the_gaps_is_kept(tmp_path: Path) -> None:
    """Gamma gaps of shape 0.1 vary about three times as much as their mean, of shape 4 half."""

    def variation(trace: str) -> float:
        times = [record.at for record in read_servegen(_write(tmp_path, trace), seed=0)]
        gaps = [after - before for before, after in pairwise(times)]
        mean = sum(gaps) / len(gaps)
        return float((sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean)

    assert variation(_BURSTY.split("600,", maxsplit=1)[0]) == pytest.approx(3.0, abs=0.6)
    assert variation(_STEADY) == pytest.approx(0.5, abs=0.1)


@given(seed=st.integers(0, 1000), start=st.floats(0, 1900), limit=st.integers(1, 400))
def test_a_part_of_the_data_is_the_same_in_whatever_part_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, seed: int, start: float, limit: int
) -> None:
    """Start and limit cut out of what the whole would be, to the bit."""
    folder = _write(tmp_path_factory.mktemp("s"))
    whole = read_servegen(folder, seed=seed)
    part = [record for record in whole if record.at >= start][:limit]
    assert read_servegen(folder, seed=seed, start_s=start, limit=limit) == part


def test_a_folder_is_read_as_a_trace(tmp_path: Path) -> None:
    """Its first request is at 0, and another seed draws others."""
    _write(tmp_path)
    records = read_trace(tmp_path, start_s=700, limit=50, seed=2)
    assert (records[0].at, len(records)) == (0.0, 50)
    assert records == read_trace(tmp_path, start_s=700, limit=50, seed=2)
    assert records != read_trace(tmp_path, start_s=700, limit=50, seed=3)
    with pytest.raises(ConfigError, match="has no requests after second 1800"):
        read_trace(tmp_path, start_s=1800)


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        (_BURSTY.replace("0.5,", "-0.5,", 1), "trace.csv, line 1, column rate: -0.5"),
        (_BURSTY.replace("1.1", "nan"), "line 3, column CV: nan"),
        (_BURSTY.replace("0.9", "much"), "line 3, column shape: 'much'"),
        (_BURSTY.replace("0.9", "0"), "line 3, column shape: 0 is not above 0"),
        (_BURSTY.replace("Weibull", "Pareto"), "line 3, column form: 'Pareto' is not Gamma or"),
        (_BURSTY.replace("Weibull", ""), "line 3, column form: ''"),
        (_BURSTY.replace("1200", "1300"), "line 3, column window start: 1300 is not 1200"),
        (_BURSTY + "1800,0.1,1.", "line 4 has 3 columns, not 6; is it torn"),
        ("start,rate,cv,form,shape,scale\n" + _BURSTY, "line 1, column window start: 'start'"),
    ],
)
def test_a_bad_window_is_refused_with_line_and_column(
    tmp_path: Path, trace: str, says: str
) -> None:
    """Negative and absent numbers, forms that are not known, a torn last line, a header."""
    with pytest.raises(ConfigError, match=says):
        read_trace(_write(tmp_path, trace))


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ({}, "dataset.json, window 0, column input_tokens is missing"),
        ({"0": {"text_tokens": "{1: 1.0}"}}, "window 0, column input_tokens is missing"),
        ({"0": {"input_tokens": "{}"}}, "column input_tokens has no lengths"),
        ({"0": {"input_tokens": "{5: 0.5, 6}"}}, "column input_tokens.*is not a number"),
        ({"0": {"input_tokens": "{5: nan}"}}, "column input_tokens, length 5: nan"),
        ({"0": {"input_tokens": "{5: 0.1, 6: 0"}}, "column input_tokens: .* is not of the form"),
        ({"0": {"input_tokens": "{open('x'): 1}"}}, "column input_tokens: .* is not LENGTH: SHARE"),
        (["0"], "dataset.json: Expected `object`"),
    ],
)
def test_bad_lengths_are_refused_with_window_and_column(
    tmp_path: Path, lengths: Any, says: str
) -> None:
    """Absent and torn distributions, and code, which is never run."""
    with pytest.raises(ConfigError, match=says):
        read_trace(_write(tmp_path, lengths=lengths))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A folder without clients, and a client without its lengths."""
    with pytest.raises(ConfigError, match="has no chunk-N-trace"):
        read_trace(tmp_path)
    (_write(tmp_path) / "chunk-0-dataset.json").unlink()
    with pytest.raises(ConfigError, match=r"chunk-0-dataset\.json: No such file"):
        read_trace(tmp_path)
