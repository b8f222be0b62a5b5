"""What the client benchmark says of the other load clients, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
_NONE = "—"
_FAULTS = ("stall", "freeze")


def table(figures: Figures) -> list[str]:
    """Return the comparison as a Markdown table's lines: a column a client, ours first."""
    names = list(figures["clients"])
    versions = figures["versions"]
    truth, wrk = figures["truth"], figures["wrk"]
    heads = [f"{name} {versions[name]}" for name in names]
    lines = [_line(["", "truth", *heads]), "|---|" + "---|" * (len(names) + 1)]
    least = f"wrk: {wrk['requests_per_s']:,.0f}"
    cheapest = f"wrk: {wrk['request_us']:,.1f}"
    whole, share = "{:,.0f}", "{:.1%}"
    rows: list[tuple[str, str, str, str]] = [
        ("requests/s, 32 in flight", least, "requests_per_s", whole),
        ("CPU µs a request", cheapest, "request_us", whole),
        ("CPU µs a streamed event", "", "chunk_us", "{:,.1f}"),
        ("CPU s before the first request", "", "start_s", "{:.1f}"),
        (
            "2 s stall: E2E P99, ms",
            whole.format(truth["stall_e2e_p99_ms"]),
            "stall_e2e_p99_ms",
            whole,
        ),
        ("the same with the wait for a slot, elsewhere", "", "stall_e2e_other_p99_ms", whole),
        ("2 s stall: within the SLO", share.format(truth["stall_good"]), "stall_good", share),
        ("10% failures: within the SLO", share.format(truth["freeze_good"]), "freeze_good", share),
        ("300 ms freeze: ITL P99, ms", _seen(figures), "freeze_itl_p99_ms", whole),
    ]
    for title, true, key, form in rows:
        cells = [_cell(figures, name, key, form) for name in names]
        lines.append(_line([title, true, *cells]))
    return lines


def _seen(figures: Figures) -> str:
    """Return the freeze's ITL P99 as the servers saw it, over all clients."""
    values = [
        row["freeze_seen_itl_p99_ms"]["median"]
        for row in figures["clients"].values()
        if "freeze_seen_itl_p99_ms" in row
    ]
    return f"{min(values):,.0f}–{max(values):,.0f}" if values else _NONE


def _cell(figures: Figures, name: str, key: str, form: str) -> str:
    row = figures["clients"][name].get(key)
    if row is not None:
        middle, low, high = (form.format(row[part]) for part in ("median", "lowest", "highest"))
        return middle if low == high else f"{middle} ({low}–{high})"
    scenario = key.partition("_")[0]
    needed = {scenario} if scenario in _FAULTS else {"requests", "chunks"}
    return "did not run" if needed & {*figures["failed"].get(name, {})} else _NONE


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def section(figures: Figures) -> list[str]:
    """Return the page's lines on the other clients."""
    loads = ", ".join(f"{load:.2f}" for load in figures["load_averages"])
    lines = [
        "## Beside other load clients",
        "",
        f"{figures['date']}; `{figures['command']}`; {figures['rounds']} rounds; load averages at "
        f"the end: {loads}.",
        "",
        *table(figures),
        "",
    ]
    for name, why in figures["missing"].items():
        lines += [f"{name} is left out: {why}.", ""]
    for name, its in figures["failed"].items():
        lines += [
            f"{name} did not run in {scenario}: `{_short(why)}`" for scenario, why in its.items()
        ]
        lines.append("")
    return [*lines, *_HOW]


def _short(why: str) -> str:
    return " ".join(why.replace("`", "'").split())[:300]


_HOW = (
    "Every client asks for the same streamed chats, in one run, round by round, each from an",
    "environment of its own and as its documentation shows it. Figures are medians over the",
    "rounds (lowest–highest), and stand in each client's own result file, under the name that it",
    "gives them; ours are those of the table that `sage-cp-bench run` prints. CPU time is that of",
    "all of a client's processes, on one core, from the first chat that reaches the server on the",
    "other until their end. What an event costs is that of streams of 200 events 5 ms apart, less",
    "what as many requests cost.",
    "",
    "The stall: requests are due at 50/s, at most 8 of them out at once, an answer takes 20 ms,",
    "and for 2 s nothing comes. The truth is reckoned from when each request was due, and the SLO",
    "is 500 ms to the end of the answer. The freeze: 32 streams of events 10 ms apart stand still",
    "for 300 ms of every second, which is in more than one gap of a hundred; the truth is what the",
    "server saw between its own writes. In the same runs every tenth answer is an error. For these",
    "two, two clients run at a time, each on one core with its server. A dash: the client has no",
    "such figure. inference-perf's own prompts for chats are a few words long, the others have 64",
    "tokens.",
)
