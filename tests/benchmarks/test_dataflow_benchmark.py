"""The dataflow benchmark's own parts: how rounds are compared, the text, and what is printed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.documents import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmarks, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield loaded
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


class _Turns:
    """A contestant whose turns are known."""

    def __init__(self, name: str, order: list[str], rounds: int | None = None) -> None:
        self.name = name
        self.order = order
        self.rounds = rounds

    def turn(self, arguments: tuple[str, ...]) -> dict[str, float]:
        self.order.append(self.name)
        return {"given": float(len(arguments))}


def test_contestants_alternate(load: Callable[[str], Any]) -> None:
    """Every other round goes the other way round, and who needs fewer rounds is left out."""
    order: list[str] = []
    contestants = {"a": _Turns("a", order), "b": _Turns("b", order, 1), "c": _Turns("c", order)}
    found = load("_dataflow_rounds").alternate(contestants, 3, ("x", "y"))
    assert order == ["a", "b", "c", "c", "a", "a", "c"]
    assert found["b"] == [{"given": 2.0}]


def test_ratios_are_taken_within_rounds(load: Callable[[str], Any]) -> None:
    """A round in which everyone was slow does not move the ratio."""
    ours = [{"rate": 9.0}, {"rate": 0.9}, {"rate": 90.0}]
    theirs = [{"rate": 10.0}, {"rate": 1.0}, {"rate": 100.0}]
    found = load("_dataflow_rounds").ratios(ours, theirs, "rate")
    assert found == {"median": 0.9, "lowest": 0.9, "highest": 0.9}


def test_a_failed_turn_is_told(load: Callable[[str], Any], tmp_path: Path) -> None:
    """A contestant that fails ends the benchmark with its last words."""
    rounds = load("_dataflow_rounds")
    (tmp_path / "bad.py").write_text("raise SystemExit('no room')")
    with pytest.raises(SystemExit, match="no room"):
        rounds.Contestant(str(tmp_path / "bad.py"), "one").turn()


def test_lost_records_are_told(load: Callable[[str], Any]) -> None:
    """A contestant that loses records has no rate."""
    work = load("_dataflow_work")
    assert work.kept(10) == sum(work.not_by_three(2 * (x + 1)) for x in range(10))
    with pytest.raises(SystemExit, match="records came to the sink"):
        work.rate(lambda: 1, records=10)


def test_the_text_is_the_same_each_time(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files hold as many words as was said, and as many bytes as was asked for."""
    words = load("_dataflow_words")
    monkeypatch.setattr(words, "BLOCK_WORDS", 1000)
    texts = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        count = words.write_text(folder, 60_000)
        texts.append([path.read_text() for path in sorted(folder.iterdir())])
        assert sum(len(text.split()) for text in texts[-1]) == count
        assert sum(map(len, texts[-1])) >= 60_000
    assert texts[0] == texts[1]
    figures = words.count(str(tmp_path / "a"), str(count))
    assert figures["words_per_s"] > 0


def test_checkpoints_are_written_while_words_are_counted(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The side that has checkpoints has them, and counts the same."""
    words = load("_dataflow_words")
    monkeypatch.setattr(words, "BLOCK_WORDS", 20_000)
    count = words.write_text(tmp_path, 1_000_000)
    assert words.count(str(tmp_path), str(count), "0.02")["seconds"] > 0


def test_the_page(load: Callable[[str], Any]) -> None:
    """The page names each bar and whether it is met, and each contestant's rate."""
    page = load("_dataflow_page")
    one = {"median": 1.0, "lowest": 1.0, "highest": 1.0}

    def row(reference: str, *names: str) -> dict[str, Any]:
        figures: dict[str, Any] = {
            name: {"records_per_s": {**one, "median": 2.5e6}, f"of_{reference}": one}
            for name in names
        }
        bar = {"what": names[0], "bar": "≥ 1", "measured": "2", "met": False}
        return {"figures": figures, "bars": [bar]}

    processes = row("bare", "one", "two", "bare one", "bare two")
    processes["figures"] |= {"speed_up": one, "bare_speed_up": one, "of_bare_two": one}
    delays = {"p50_ms": one, "p99_ms": one}
    speed = {"words_per_s": one}
    words = {
        **dict.fromkeys(("without", "with", "plain"), speed),
        "slower": one,
        "slower_cpu": one,
        "words": 7,
        "gb": 1.0,
    }
    data = {
        "command": "python benchmarks/dataflow.py",
        "date": "2030-01-01",
        "machine": {"cores": 2},
        "versions": {"sage-stack": "1"},
        "figures": {
            "peers": {"bytewax": "1"},
            "fused": row("plain", "plain", "fused", "bytewax 1"),
            "channels": row("plain", "plain", "channels"),
            "processes": processes,
            "hop": row("pipe", "hop", "pipe by 2048"),
            "async": row("bare", "operator", "bare"),
            "latency": {"figures": {"stages": delays, "queues": delays}, "bars": []},
            "words": {"figures": words, "bars": []},
            "took_s": 5.0,
        },
    }
    text = page.page(data)
    assert "| plain | ≥ 1 | 2 | not met |" in text
    assert "| Bytewax, of 1 | 2.50 M | 1.00 × (1.00 to 1.00) |" in text
    assert "bytewax 1" in text


@pytest.mark.timeout(60)
def test_a_contestant_runs_in_a_process_of_its_own(load: Callable[[str], Any]) -> None:
    """The memory row, for a second: the source stops and the process ends by itself."""
    figures = load("_dataflow_rounds").Contestant("_dataflow_memory.py", "stalled").turn(("2.5",))
    assert figures["given_while_stalled"] == 0
    assert figures["grown_mb"] < 30


def test_an_unknown_row_is_an_error() -> None:
    """The command line names the rows there are."""
    command = [sys.executable, str(FOLDER / "dataflow.py"), "--only", "fuse"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fused" in done.stderr
