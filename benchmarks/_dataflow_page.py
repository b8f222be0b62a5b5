"""The page of the dataflow benchmark, written from its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "dataflow.md"
_NAMES = {
    "plain": "plain Python loop",
    "fused": "**SAGE**, fused",
    "inline": '**SAGE**, `workers: "inline"`',
    "profile": "**SAGE**, `profile=True`",
    "generator": "**SAGE**, from a generator",
    "bytewax 1000": "Bytewax, source batches of 1,000",
    "bytewax 1": "Bytewax, of 1",
    "ray": "Ray Data, rows",
    "streamz": "Streamz",
    "channels": "**SAGE**, a channel between each two operators",
    "queues by 1": "bare `queue.Queue`, record by record",
    "queues by 16": "bare `queue.Queue`, by lists of 16",
    "one": "**SAGE**, one process",
    "two": "**SAGE**, two processes",
    "bare one": "one bare process",
    "bare two": "two bare processes",
    "hop": "**SAGE**, to a process and back",
    "pipe by 2048": "bare `Pipe`, by lists of 2,048",
    "pipe by 1": "bare `Pipe`, record by record",
    "queue by 1": "bare `multiprocessing.Queue`, record by record",
    "operator": "**SAGE**, async operator",
    "bare": "bare asyncio",
}


def write_page() -> None:
    """Write the page from ``benchmarks/results/dataflow.json``."""
    data = json.loads((RESULTS / "dataflow.json").read_text(encoding="utf-8"))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(data), encoding="utf-8")


def page(data: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    rows = data["figures"]
    sections = [
        "# The dataflow kernel",
        "Contestants take turns, each turn in a fresh process. A rate is the median of the rounds, "
        "a ratio the median of the ratios within rounds (lowest to highest).",
        "## Bars\n\n" + _bars(rows),
        "## map → map → filter → sink over a million integers\n\n"
        "Metrics on. Starting a peer is left out of its figure.\n\n"
        + _table(rows["fused"]["figures"], "plain"),
        "## With channels\n\nThe same work, four hops between threads.\n\n"
        + _table(rows["channels"]["figures"], "plain"),
        "## Two cores\n\n" + _two_cores(rows["processes"]["figures"]),
        "## To another process and back\n\nRecords of 1 KB, all different.\n\n"
        + _table(rows["hop"]["figures"], "pipe by 2048"),
        "## 1,000 calls of 50 ms in flight\n\n20,000 records/s are possible.\n\n"
        + _table(rows["async"]["figures"], "bare"),
        "## One record at a time\n\n" + _latency(rows["latency"]["figures"]),
        "## Word count with checkpoints\n\n" + _words(rows["words"]["figures"]),
        "## Made with\n\n" + _made(data),
    ]
    return "\n\n".join(sections) + "\n"


def _bars(rows: Mapping[str, Any]) -> str:
    lines = ["| | bar | measured | |", "|---|---|---:|---|"]
    for row in rows.values():
        for bar in row["bars"] if isinstance(row, dict) and "bars" in row else ():
            verdict = "met" if bar["met"] else "not met"
            lines.append(f"| {bar['what']} | {bar['bar']} | {bar['measured']} | {verdict} |")
    return "\n".join(lines)


def _table(figures: Mapping[str, Any], reference: str) -> str:
    short = f"of_{reference.split(maxsplit=1)[0]}"
    lines = [f"| | records/s | of {_NAMES[reference].replace('**', '')} |", "|---|---:|---:|"]
    for name, each in figures.items():
        if name in _NAMES:
            rate = each["records_per_s"]["median"]
            lines.append(f"| {_NAMES[name]} | {_rate(rate)} | {_ratio(each[short])} |")
    return "\n".join(lines)


def _two_cores(figures: Mapping[str, Any]) -> str:
    return (
        "An operator that computes for about 0.2 ms a record.\n\n"
        f"{_table(figures, 'bare one')}\n\n"
        f"Two processes are {_ratio(figures['speed_up'])} of one; of bare processes, which do "
        f"nothing else, {_ratio(figures['bare_speed_up'])}. Ours are "
        f"{_ratio(figures['of_bare_two'])} of two bare ones."
    )


def _latency(figures: Mapping[str, Any]) -> str:
    names = {"stages": "**SAGE**, five stages", "queues": "bare `queue.Queue`, five hops"}
    lines = ["100 records a second.\n", "| | p50, ms | p99, ms |", "|---|---:|---:|"]
    lines += [
        f"| {names[name]} | {each['p50_ms']['median']:.2f} | {each['p99_ms']['median']:.2f} |"
        for name, each in figures.items()
    ]
    return "\n".join(lines)


def _words(figures: Mapping[str, Any]) -> str:
    names = {
        "without": "**SAGE**, no checkpoints",
        "with": "**SAGE**, a checkpoint each second",
        "plain": "`Counter.update(line.split())`",
    }
    lines = [
        f"{figures['words']:,} words, {figures['gb']:g} GB, in four files: `from_files`, "
        '`flatmap`, `keyby`, `reduce(emit="end")`.\n',
        "| | words/s |",
        "|---|---:|",
    ]
    lines += [
        f"| {text} | {_rate(figures[name]['words_per_s']['median'])} |"
        for name, text in names.items()
    ]
    lines.append(
        "\nThe first two run at the same time, on one core each, which they change with every "
        f"round. With checkpoints it takes {_ratio(figures['slower'])} of the time, "
        f"{_ratio(figures['slower_cpu'])} of the CPU time."
    )
    return "\n".join(lines)


def _rate(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate:,.0f}"


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} × ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def _made(data: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in data["machine"].items())
    installed = {**data["versions"], **data["figures"]["peers"]}
    versions = ", ".join(f"{name} {value}" for name, value in installed.items())
    return (
        f"`{data['command']}` on {data['date']}, in {data['figures']['took_s']:.0f} s. {machine}. "
        f"{versions}. Every figure is in `benchmarks/results/dataflow.json`; this page is written "
        "from it by `python benchmarks/dataflow.py --page`. The embedding figure is from "
        "`python benchmarks/embedding_pipeline.py`, run by the same command."
    )
