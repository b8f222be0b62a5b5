"""What is measured, row by row: contestants, bars, and the lines that are printed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _dataflow_peers import peers
from _dataflow_rounds import (
    FOLDER,
    Contestant,
    Figures,
    alternate,
    ratios,
    shown,
    side_by_side,
    spread,
)
from _dataflow_words import write_text
from _report import RESULTS, Report

CONTESTANTS = "_dataflow_contestants.py"
DELAYS = "_dataflow_delays.py"
PROCESSES = "_dataflow_processes.py"
ASYNC = "_dataflow_async.py"
WORDS = "_dataflow_words.py"
MEMORY = "_dataflow_memory.py"
RATE = "records_per_s"


@dataclass(frozen=True)
class Options:
    """Sizes of a run.

    Attributes:
        rounds: of each comparison.
        gigabytes: of text for the word count.
        stall_s: seconds for which the sink stands still.
    """

    rounds: int
    gigabytes: float
    stall_s: float


@dataclass(frozen=True)
class Bar:
    """A bar, and what was measured.

    Attributes:
        what: is measured.
        bar: as text.
        measured: as text, with its unit.
        met: whether the median meets the bar.
    """

    what: str
    bar: str
    measured: str
    met: bool


class Row:
    """Adds one row's figures to the report.

    Args:
        report: where to.
        name: of the row.
    """

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self._name = name

    def close(self, figures: Mapping[str, Any], bars: list[Bar], lines: list[str]) -> None:
        """Record figures and bars, and print them."""
        verdicts = [
            f"  {'met' if bar.met else 'NOT MET'}: {bar.what} {bar.measured}, bar {bar.bar}"
            for bar in bars
        ]
        value = {"figures": figures, "bars": [asdict(bar) for bar in bars]}
        self._report.add(self._name, value, "\n".join([f"{self._name}:", *lines, *verdicts]))


def fused(row: Row, options: Options) -> None:
    """map → map → filter → sink over a million integers, against a plain loop and the peers."""
    ours = ("plain", "fused", "inline", "profile", "generator")
    contestants = {name: Contestant(CONTESTANTS, name) for name in ours}
    found = alternate(contestants | peers(), options.rounds)
    figures = _against(found, "plain")
    ratio, cpu = figures["fused"]["of_plain"], ratios(found["plain"], found["fused"], "cpu_us")
    figures["fused"]["cpu_of_plain"] = cpu
    bar = Bar("fused, of a plain loop", "≥ 0.9 ×", shown(ratio), ratio["median"] >= 0.9)
    lines = [*_rates(figures, "plain"), f"  of CPU time, fused is {shown(cpu)} of the plain loop"]
    row.close(figures, [bar], lines)


def channels(row: Row, options: Options) -> None:
    """The same with a channel between each two operators, against bare queues."""
    names = ("plain", "channels", "queues by 1", "queues by 16")
    found = alternate({name: Contestant(CONTESTANTS, name) for name in names}, options.rounds)
    figures = _against(found, "plain")
    rate = figures["channels"][RATE]["median"]
    bar = Bar("a channel between each two", "≥ 1.0 M/s", f"{rate / 1e6:.2f} M/s", rate >= 1e6)
    row.close(figures, [bar], _rates(figures, "plain"))


def latency(row: Row, options: Options) -> None:
    """One record through five stages at 100 a second, against bare queues."""
    contestants = {name: Contestant(DELAYS, name) for name in ("stages", "queues")}
    found = alternate(contestants, min(options.rounds, 3))
    figures = {
        name: {key: spread([one[key] for one in each]) for key in ("p50_ms", "p99_ms")}
        for name, each in found.items()
    }
    p50, p99 = (figures["stages"][key]["median"] for key in ("p50_ms", "p99_ms"))
    bars = [
        Bar("one record through five stages, p50", "≤ 1 ms", f"{p50:.2f} ms", p50 <= 1.0),
        Bar("the same, p99", "≤ 5 ms", f"{p99:.2f} ms", p99 <= 5.0),
    ]
    lines = [
        f"  {name:<20} p50 {each['p50_ms']['median']:.2f} ms, p99 {each['p99_ms']['median']:.2f} ms"
        for name, each in figures.items()
    ]
    row.close(figures, bars, lines)


def processes(row: Row, options: Options) -> None:
    """An operator that computes, in two processes against one, beside two bare ones."""
    names = ("one", "two", "bare one", "bare two")
    found = alternate({name: Contestant(PROCESSES, name) for name in names}, options.rounds)
    figures: dict[str, Any] = _against(found, "bare one")
    ours = ratios(found["two"], found["one"], RATE)
    limit = ratios(found["bare two"], found["bare one"], RATE)
    share = ratios(found["two"], found["bare two"], RATE)
    figures |= {"speed_up": ours, "bare_speed_up": limit, "of_bare_two": share}
    bar = Bar("two processes, of one", "≥ 1.9 ×", shown(ours), ours["median"] >= 1.9)
    lines = [
        *_rates({name: figures[name] for name in names}, "bare one"),
        f"  two bare processes are {shown(limit)} of one: what this machine has to give",
        f"  our two are {shown(share)} of two bare ones",
    ]
    row.close(figures, [bar], lines)


def hop(row: Row, options: Options) -> None:
    """Records of 1 KB to another process and back, against bare pipes and queues."""
    names = ("hop", "pipe by 2048", "pipe by 1", "queue by 1")
    contestants = {name: Contestant(PROCESSES, name) for name in names}
    found = alternate(contestants, min(options.rounds, 5))
    figures = _against(found, "pipe by 2048")
    rate = figures["hop"][RATE]["median"]
    bar = Bar("hop of 1 KB to a process", "≥ 300 k/s", f"{rate / 1e3:,.0f} k/s", rate >= 300e3)
    row.close(figures, [bar], _rates(figures, "pipe by 2048"))


def asynchronous(row: Row, options: Options) -> None:
    """1,000 calls of 50 ms in flight, against bare asyncio."""
    contestants = {name: Contestant(ASYNC, name) for name in ("operator", "bare")}
    found = alternate(contestants, min(options.rounds, 3))
    figures = _against(found, "bare")
    rate = figures["operator"][RATE]["median"]
    bar = Bar("async, 1,000 in flight", "≥ 18,000/s", f"{rate:,.0f}/s", rate >= 18_000)
    row.close(figures, [bar], _rates(figures, "bare"))


def words(row: Row, options: Options) -> None:
    """Word count with a checkpoint each second against the same without."""
    with tempfile.TemporaryDirectory() as folder:
        count = write_text(Path(folder), int(options.gigabytes * 1e9))
        sides = (Contestant(WORDS, "without"), Contestant(WORDS, "with"))
        without, with_ = side_by_side(*sides, min(options.rounds, 4), (folder, str(count)))
        plain = Contestant(WORDS, "plain").turn((folder, str(count)))
    found = {"without": without, "with": with_, "plain": [plain]}
    figures: dict[str, Any] = {
        name: {"words_per_s": spread([one["words_per_s"] for one in each])}
        for name, each in found.items()
    }
    slower = ratios(found["with"], found["without"], "seconds")
    cpu = ratios(found["with"], found["without"], "cpu_s")
    figures |= {"slower": slower, "slower_cpu": cpu, "words": count, "gb": options.gigabytes}
    percent = (slower["median"] - 1) * 100
    bar = Bar("a checkpoint each second", "≤ 5% slower", f"{percent:+.1f}%", percent <= 5)
    lines = [
        f"  {name:<20} {figures[name]['words_per_s']['median'] / 1e6:6.2f} M words/s"
        for name in found
    ]
    lines.append(f"  time with ÷ without {shown(slower)}, of CPU {shown(cpu)}")
    row.close(figures, [bar], lines)


def memory(row: Row, options: Options) -> None:
    """An infinite source before a sink that stands still."""
    figures = Contestant(MEMORY, "stalled").turn((str(options.stall_s),))
    grown, still = figures["grown_mb"], figures["given_while_stalled"]
    what = f"memory grown in a stall of {options.stall_s:g} s"
    bars = [
        Bar(what, "≤ 30 MB", f"{grown:.1f} MB", grown <= 30),
        Bar("records that the source gave meanwhile", "0", f"{still:.0f}", still == 0),
    ]
    row.close(figures, bars, [f"  the source gave {figures['given']:,.0f} records before it"])


def embedding(row: Row, options: Options) -> None:
    """5,000 texts through ``embed()``; `embedding_pipeline.py` measures it and says how."""
    command = [sys.executable, str(FOLDER / "embedding_pipeline.py")]
    command += ["--rounds", str(min(options.rounds, 3))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    told = json.loads((RESULTS / "embedding_pipeline.json").read_text(encoding="utf-8"))
    figures = told["figures"]["embed"]
    ratio = figures["ratio"]
    bar = Bar(
        "5,000 texts through embed(), of the engine's sorted batches",
        "≥ 95%",
        f"{ratio:.0%}",
        ratio >= 0.95,
    )
    row.close(figures, [bar], [])


ROWS: dict[str, Callable[[Row, Options], None]] = {
    "fused": fused,
    "channels": channels,
    "latency": latency,
    "processes": processes,
    "hop": hop,
    "async": asynchronous,
    "words": words,
    "memory": memory,
    "embedding": embedding,
}


def _against(found: dict[str, list[Figures]], reference: str) -> dict[str, Any]:
    """Return each one's records/s, and that over the reference's of the same round."""
    short = reference.split(maxsplit=1)[0]
    return {
        name: {
            RATE: spread([one[RATE] for one in each]),
            f"of_{short}": ratios(each, found[reference], RATE),
        }
        for name, each in found.items()
    }


def _rates(figures: Mapping[str, Any], reference: str) -> list[str]:
    short = reference.split(maxsplit=1)[0]
    return [
        f"  {name:<20} {each[RATE]['median'] / 1e3:10,.1f} k records/s  "
        f"{shown(each[f'of_{short}'])} of {reference}"
        for name, each in figures.items()
    ]
