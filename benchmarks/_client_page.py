"""What the client benchmark says: lines, bars, and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _client_peers_page as peers_page

ROOT = Path(__file__).parents[1]
JSON = ROOT / "benchmarks" / "results" / "client.json"
PAGE = ROOT / "docs" / "benchmarks" / "client.md"

Row = Mapping[str, Mapping[str, float]]

_NAMES = {
    "closed_1": "closed loop, 1 user",
    "closed_32": "closed loop, 32 users",
    "open_2000": "open loop, 2,000/s, Poisson",
    "open_8200": "open loop, 8,200/s, Poisson",
    "streams": "streams of 200 events 5 ms apart, 100 users",
    "wrk_1": "wrk, 1 connection",
    "wrk_32": "wrk, 32 connections",
}
RATE, REQUEST_US, EVENT_US = 8_000.0, 100.0, 15.0


def line(name: str, row: Row) -> str:
    """Return a case's figures as one line."""
    told = "  ".join(f"{key} {_spread(its)}" for key, its in row.items())
    return f"{name:10} {told}"


def bars(figures: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return what was asked for, what was measured, and whether it is met."""
    opened = figures["open_8200"]
    rate, cost = opened["requests_per_s"]["median"], opened["request_us"]["median"]
    event = figures["streams"]["event_us"]["median"]
    held = f"{rate:,.0f} requests/s"
    return [
        _bar("open loop", f"≥ {RATE:,.0f} requests/s", held, rate >= RATE),
        _bar("CPU a request there", f"≤ {REQUEST_US:g} µs", f"{cost:.1f} µs", cost <= REQUEST_US),
        _bar("CPU a streamed event", f"≤ {EVENT_US:g} µs", f"{event:.1f} µs", event <= EVENT_US),
    ]


def _bar(what: str, asked: str, measured: str, met: bool) -> dict[str, Any]:
    return {"what": what, "bar": asked, "measured": measured, "met": met}


def _spread(its: Mapping[str, float]) -> str:
    digits = 0 if its["median"] >= 1000 else 1 if its["median"] >= 2 else 3
    middle, low, high = (f"{its[key]:,.{digits}f}" for key in ("median", "lowest", "highest"))
    return f"{middle} ({low}–{high})"


def markdown(data: Mapping[str, Any]) -> str:
    """Return the page."""
    machine, figures = data["machine"], data["figures"]
    where = ", ".join(
        [
            machine["processor"],
            f"{machine['memory_gib']} GiB",
            machine["system"],
            f"Python {machine['python']}",
        ]
    )
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    loads = ", ".join(f"{load:.2f}" for load in figures["load_averages"])
    lines = [
        "# What sage-cp-bench's own load costs",
        "",
        "Written by `python benchmarks/client.py --page` from `benchmarks/results/client.json`.",
        "",
        f"{where}; {data['date']}; `{data['command']}`.",
        f"{versions}. Load averages at the end: {loads}; runs repeated, as answers failed: "
        f"{figures['repeated']}.",
        "",
        "| what | bar | measured |  |",
        "|---|---|---|---|",
        *(
            f"| {bar['what']} | {bar['bar']} | {bar['measured']} | "
            f"{'met' if bar['met'] else 'missed'} |"
            for bar in figures["bars"]
        ),
        "",
        "| load | requests/s | CPU µs a request | CPU µs an event | late to leave, p50, ms "
        "| p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in _NAMES.items():
        row = figures[name]
        keys = ("requests_per_s", "request_us", "event_us", "delay_p50_ms", "delay_p99_ms")
        cells = [_spread(row[key]) if key in row else "—" for key in keys]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    beside = ["", *peers_page.section(figures["peers"])] if "peers" in figures else []
    return "\n".join([*lines, "", *_HOW, *beside, ""])


_HOW = (
    "## How it is measured",
    "",
    "The client is pinned to one core and the servers to the other: nginx, which returns one",
    "canned chat answer, and a stand-in that writes the events of a stream one by one, 5 ms apart,",
    "so that each comes in a packet of its own. CPU time is that of the load's thread from the",
    "first request to the last answer; in an open loop it holds the waiting between requests too.",
    "A streamed event's share is all of a stream's CPU time by its events with tokens. Drawing the",
    "requests comes before the clock starts and is not in it. Rounds go over all loads in turn,",
    "and one before them does not count; figures are medians over the rounds (lowest–highest). A",
    "run with a failed answer is no result and is repeated.",
    "",
    "Late to leave is the time from when a request should have left until the load handed it to",
    "a connection. It is part of every latency that sage-cp-bench reports. A timerfd wakes the",
    "loop, since the loop's own timers count in milliseconds: between requests the core is free.",
)


def write() -> None:
    """Write the page from the JSON."""
    data = json.loads(JSON.read_text(encoding="utf-8"))
    PAGE.write_text(markdown(data), encoding="utf-8")
