"""Files of results, read back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.benchmark.report import FORMAT
from sage.benchmark.visualize.recorded import read_file, read_results
from sage.errors import ConfigError

from .support import compared, edited, swept


def test_what_was_written_is_read() -> None:
    """Runs, figures, requests and the comparison, as the file has them."""
    data = compared()
    raw = json.loads(data)
    found = read_results(data, "c.json")
    assert [run.policy for run in found.runs] == ["fifo", "hybrid_slo", "hybrid_slo", "fifo"]
    for run, written in zip(found.runs, raw["runs"], strict=True):
        counts = run.summary.counts
        assert run.simulated
        assert run.complete
        assert counts.judged == len(run.requests) == len(written["requests"]["rows"]) == 120
        assert sum(item.failed for item in run.requests) == counts.failed
        assert run.summary.overall.goodput == written["summary"]["classes"][-1]["goodput"]
    assert found.rate == 40
    assert found.limits("interactive") == {"ttft_ms": 1000, "tpot_ms": 50}
    assert found.limits("nobody") == {}
    assert found.comparison is not None
    assert found.comparison.rounds == 2


def test_a_sweep_is_read() -> None:
    """Every run, level and knee."""
    found = read_results(swept(), "s.json")
    written = json.loads(swept())["sweep"]
    assert found.runs == []
    assert found.sweep is not None
    assert len(found.sweep.points) == len(written["points"]) > 4
    assert [knee.policy for knee in found.sweep.knees] == ["fifo", "hybrid_slo"]
    with pytest.raises(ConfigError, match="in the outcome"):
        read_results(edited(swept(), "sweep", "points", 0, "value", value="x"), "s.json")


def test_one_round_has_no_interval() -> None:
    """JSON has no infinity; read back, the interval has no ends."""
    comparison = read_results(compared(rounds=1), "c.json").comparison
    assert comparison is not None
    ends = [row.difference for row in comparison.rows if row.difference is not None]
    assert ends
    assert all(item.low == -math.inf and item.high == math.inf for item in ends)


def test_no_rate_where_none_was_asked() -> None:
    """A closed loop and a trace have none."""
    for key, value in (("arrival", "closed"), ("trace", "azure.csv")):
        assert read_results(edited(compared(), "config", key, value=value), "c").rate is None


@settings(deadline=None)  # the first example makes the file
@given(st.data())
def test_a_torn_file_is_said_to_be(data: st.DataObject) -> None:
    """Wherever its writing was broken off: one line that names the file."""
    whole = compared(raw=False).rstrip()
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ConfigError) as caught:
        read_results(whole[:length], "torn.json")
    message = str(caught.value)
    assert message.startswith("torn.json: damaged")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), ..., f"format 0 of an older sage-cp-bench; this one reads format {FORMAT}"),
        (("format",), FORMAT + 1, "of a newer sage-cp-bench"),
        (("runs",), ..., "'runs' is missing"),
        (("runs",), {}, "'runs' is missing or of a wrong kind"),
        (("config",), None, "'config' is missing"),
        (("runs", 0), 7, "'seed' is missing"),
        (("runs", 1, "summary", "counts"), ..., "in the summary"),
        (("runs", 1, "verdict", "valid"), "yes", "in the verdict"),
        (("runs", 0, "requests", "columns", 1), "kind", "lack the column 'class'"),
        (("runs", 0, "requests", "rows", 3), [1, "interactive"], "a request's row"),
        (("runs", 0, "requests", "rows", 3), None, "a request's row"),
        (("comparison", "rows", 0, "mean"), "many", "in the comparison"),
    ],
)
def test_damage_is_named(path: tuple[Any, ...], value: Any, said: str) -> None:
    """One line: the file, what is wrong with it."""
    data = edited(compared(), *path, value=value)
    with pytest.raises(ConfigError) as caught:
        read_results(data, "c.json")
    assert str(caught.value).startswith("c.json: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"policy,seed\nfifo,0\n"])
def test_other_files_are_refused(data: bytes) -> None:
    """Empty, binary, and text that is no JSON."""
    with pytest.raises(ConfigError, match="damaged, or no JSON at all"):
        read_results(data, "x")


@pytest.mark.parametrize("data", [b"[]", b"{}", b'"text"', b"3", b'{"traceEvents": []}'])
def test_other_json_is_refused(data: bytes) -> None:
    """It says which files are meant."""
    with pytest.raises(ConfigError, match="no results of sage-cp-bench"):
        read_results(data, "x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, or nothing there."""
    for path in (tmp_path, tmp_path / "gone.json"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_file(path)
