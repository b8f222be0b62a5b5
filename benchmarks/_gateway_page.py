"""What the gateway benchmark says: figures over rounds, bars, the table, and the page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JSON = ROOT / "benchmarks" / "results" / "gateway.json"
PAGE = ROOT / "docs" / "benchmarks" / "gateway.md"
REFERENCES = ("nginx", "vllm-router")
_UNITS = {
    "request_us": ("µs of CPU a request", 1),
    "event_us": ("µs of CPU a streamed event", 1),
    "added_p50_ms": ("ms added to the p50 at one connection", 3),
}
# Bytes a request by which memory may grow in the second half and still be called flat: not even
# one pointer is kept.
FLAT_BYTES = 8

Figures = Mapping[str, Any]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, lowest and highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def summary(name: str, rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Return each gateway's figure over its rounds, and its ratios to the references.

    Args:
        name: of the figure in a row; what else a row has is given as its median.
        rows: of each gateway, one a round.

    Ratios are taken within a round, and their median, lowest and highest are given.
    """
    told: dict[str, Any] = {}
    for gateway, its in rows.items():
        values = [row[name] for row in its]
        told[gateway] = spread(values)
        for other in its[0].keys() - {name}:
            told[gateway][other] = statistics.median(row[other] for row in its)
        told[gateway]["ratios"] = {
            reference: spread(
                [ours / row[name] for ours, row in zip(values, rows[reference], strict=True)]
            )
            for reference in REFERENCES
            if reference in rows
        }
    return told


def lines(name: str, told: Figures) -> str:
    """Return a figure of every gateway as lines for a reader."""
    unit, digits = _UNITS[name]
    return "\n".join(
        f"{gateway:14} {_spread(its, digits)} {unit}, core {its['core_share']:.0%} busy"
        if "core_share" in its
        else f"{gateway:14} {_spread(its, digits)} {unit}"
        for gateway, its in told.items()
    )


def _spread(its: Mapping[str, float], digits: int) -> str:
    middle, low, high = (f"{its[key]:,.{digits}f}" for key in ("median", "lowest", "highest"))
    return f"{middle} ({low}–{high})"


def plain(values: Mapping[str, float]) -> str:
    """Return numbers by name in one line."""
    return "  ".join(f"{name} {value:g}" for name, value in values.items())


def idle_line(its: Figures) -> str:
    """Return the outcome of the idle connections as a sentence."""
    faults = f": {its['faults']}" if its["faults"] else ""
    return (
        f"{its['connections']:,} idle connections, of which {its['kept']:,} were kept, and "
        f"{its['streams']} streams of {its['events']:,} events in all, within "
        f"{its['seconds']:.0f} s: {its['failed']} failed{faults}; RSS {its['rss_opened_mb']:.0f} "
        f"MB with all of them open, {its['rss_peak_mb']:.0f} MB at most"
    )


def memory_line(name: str, its: Figures) -> str:
    """Return the outcome of the long run as a sentence."""
    first = its["samples"][0][1]
    return (
        f"{name}: {its['requests']:,} requests, RSS {first:.0f} MB before, {its['rss_mb']:.0f} MB "
        f"after; {its['grown_bytes_a_request']:+.1f} bytes a request over the second half"
    )


def _bar(what: str, limit: str, measured: str, met: bool | None) -> dict[str, Any]:
    return {"what": what, "bar": limit, "measured": measured, "met": met}


def _at_most(figures: Figures, name: str, what: str, limit: float, unit: str) -> dict[str, Any]:
    its = figures.get(name, {}).get("sage")
    if its is None:
        return _bar(what, f"≤ {limit} {unit}", "not measured", None)
    digits = 2 if limit < 1 else 1
    measured = f"{its['median']:.{digits}f} {unit}"
    return _bar(what, f"≤ {limit} {unit}", measured, its["median"] <= limit)


def bars(figures: Figures) -> list[dict[str, Any]]:
    """Judge SAGE's figures; one that was not measured is neither met nor missed."""
    request = _at_most(figures, "request_us", "CPU a request", 60, "µs")
    event = _at_most(figures, "event_us", "CPU a streamed event", 22, "µs")
    added = _at_most(figures, "added_p50_ms", "added p50, one connection", 0.2, "ms")
    return [request, _below_router(figures), event, added, _memory(figures), _idle(figures)]


def _below_router(figures: Figures) -> dict[str, Any]:
    what, limit = "CPU a request against vllm-router, same run", "ratio < 1"
    its = figures.get("request_us", {}).get("sage", {}).get("ratios", {}).get("vllm-router")
    if its is None:
        return _bar(what, limit, "not measured", None)
    return _bar(what, limit, _spread(its, 2), its["median"] < 1)


def _memory(figures: Figures) -> dict[str, Any]:
    what, limit = "memory after 1 M requests", f"≤ 120 MB, flat (< {FLAT_BYTES} B a request)"
    its = figures.get("memory_sage")
    if its is None or its["requests"] < 1_000_000:
        return _bar(what, limit, "not measured", None)
    grown = its["grown_bytes_a_request"]
    measured = f"{its['rss_mb']:.0f} MB, {grown:+.1f} B a request over the second half"
    return _bar(what, limit, measured, its["rss_mb"] <= 120 and grown < FLAT_BYTES)


def _idle(figures: Figures) -> dict[str, Any]:
    what, limit = "10,000 idle connections, 200 streams", "nobody fails, RSS ≤ 400 MB"
    its = figures.get("idle")
    if its is None:
        return _bar(what, limit, "not measured", None)
    measured = f"{its['failed']} failed, {its['rss_peak_mb']:.0f} MB"
    nobody = not its["failed"] and its["kept"] == its["connections"]
    return _bar(what, limit, measured, nobody and its["rss_peak_mb"] <= 400)


def cells(figures: Figures) -> list[list[str]]:
    """Return the table of all gateways, its heading first."""
    heading = ["gateway", "µs a request", "× nginx", "× vllm-router", "requests/s"]
    heading += ["µs an event", "added p50, ms", "RSS, MB"]
    rows = [heading]
    for name, gateway in figures["gateways"].items():
        row = [f"{name} {gateway['version']}".strip()]
        if "missing" in gateway:
            rows.append([*row, "left out", *["—"] * (len(heading) - 2)])
            continue
        request = figures.get("request_us", {}).get(name)
        row.append(_cell(request, "request_us"))
        for reference in REFERENCES:
            ratio = request["ratios"].get(reference) if request else None
            row.append(f"{ratio['median']:.2f}" if ratio else "—")
        row.append(f"{request['requests_per_s']:,.0f}" if request else "—")
        row.append(_cell(figures.get("event_us", {}).get(name), "event_us"))
        row.append(_cell(figures.get("added_p50_ms", {}).get(name), "added_p50_ms"))
        rss = figures.get("rss_mb", {}).get(name)
        row.append(f"{rss:.0f}" if rss is not None else "—")
        rows.append(row)
    return rows


def _cell(its: Mapping[str, float] | None, name: str) -> str:
    return _spread(its, _UNITS[name][1]) if its else "—"


def table(figures: Figures) -> str:
    """Return the table and the bars for a terminal."""
    rows = cells(figures)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    told = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    words = {True: "met", False: "MISSED", None: "not measured"}
    told += [
        f"{words[bar['met']]:12} {bar['what']}: {bar['measured']} (bar {bar['bar']})"
        for bar in figures["bars"]
    ]
    return "\n".join(["", *told])


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    told = [f"| {' | '.join(row)} |" for row in rows]
    told.insert(1, "|---" * len(rows[0]) + "|")
    return told


_METHOD = """## How it is measured

Every gateway runs on core {gateway_core}, the load and the engine stand-ins on core {load_core};
all of them run at once, and one at a time is loaded. A round goes over all gateways in turn,
{rounds} rounds count, and one before them does not. Figures are medians over the rounds
(lowest–highest); ratios are taken within each round.

- **CPU a request**: wrk keeps {connections} connections busy for {seconds} s; the CPU time, user
  and system, of the gateway's processes over the answers. The engine is an nginx with one canned
  chat answer. One answer that is not 200 takes the gateway out. Requests that wrk leaves
  unfinished at a round's end ({connections} at most) count as cost, which tells for slow gateways.
- **CPU a streamed event**: {streams} streams at a time, begun anew for {seconds} s, {events}
  events and `[DONE]` in each, one every {interval_ms:g} ms and each a write of its own; the CPU
  time over the events that the client got, the request's own cost included. A stream that does not
  come whole takes the gateway out.
- **Added p50**: one connection to the gateway and one to the engine, called in alternating blocks;
  the difference of the medians.
- **RSS** is of the gateway's processes after the load of the first part.
- **Idle connections**: each gets one answer, rests while 200 streams run (one event every
  {spaced_ms:g} ms), and is then used again. The gateway is started with a limit of
  {files:,} open files, and may raise it itself.
- `sage` is the wheel that `make wheel` builds, with the scheduling core compiled; `sage-python` is
  the same code as a checkout runs it. Both run as `sage gateway start` with `hybrid_slo`,
  objectives for every request, metrics, and an API key that is checked. LiteLLM does not start
  without a key and checks one too; the others check none. Each router has one engine and goes
  round robin.
"""


def page(data: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    figures = data["figures"]
    machine = data["machine"]
    words = {True: "met", False: "**missed**", None: "not measured"}
    judged = [["what", "bar", "measured", ""]]
    judged += [
        [bar["what"], bar["bar"], bar["measured"], words[bar["met"]]] for bar in figures["bars"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    told = ["# The gateway beside its peers", ""]
    told += [
        "Written by `python benchmarks/gateway.py --page` from `benchmarks/results/gateway.json`.",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; {data['date']}; `{data['command']}`.",
        f"SAGE's own: {versions}.",
        "",
    ]
    told += [*_markdown(cells(figures)), "", *_markdown(judged), ""]
    left_out = {n: g["missing"] for n, g in figures["gateways"].items() if "missing" in g}
    told += [f"{name} is left out: {' '.join(why.split())}\n" for name, why in left_out.items()]
    if "idle" in figures:
        told += [f"{idle_line(figures['idle'])}.", ""]
    for name in figures["gateways"]:
        if its := figures.get(f"memory_{name}"):
            told += [f"{memory_line(name, its)}.", ""]
        if fault := figures.get(f"memory_{name}_fault"):
            told += [f"{name}: memory over many requests was not measured: {fault}", ""]
    if "profile" in figures:
        rows = [["self time", "function"]]
        rows += [[f"{item['share']:.1%}", f"`{item['function']}`"] for item in figures["profile"]]
        told += ["## Where SAGE's time goes", ""]
        told += ["py-spy, 500 samples a second under the load of the first figure; a function of C"]
        told += ["counts for the one that calls it.", "", *_markdown(rows), ""]
    if "profile_fault" in figures:
        told += [f"SAGE was not profiled: {figures['profile_fault']}", ""]
    told += [_METHOD.format(**figures["settings"]), "## Commands", ""]
    told += [
        f"- {name}: `{gateway['command']}`"
        for name, gateway in figures["gateways"].items()
        if "command" in gateway
    ]
    return "\n".join([*told, ""])


def write() -> None:
    """Write the page from the JSON of the last full run."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(json.loads(JSON.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
