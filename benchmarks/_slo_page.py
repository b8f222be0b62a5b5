"""The page of the SLO benchmark, written from its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "slo.md"
_OBJECTIVES = {
    "chat": "first token within {chat_ttft_ms:.0f} ms",
    "bulk": "whole answer within {bulk_deadline_ms:.0f} ms, priority LOW",
    "embedding": "whole answer within {embedding_deadline_ms:.0f} ms",
    "all": "the class's own",
}


def write_page() -> None:
    """Write the page from ``benchmarks/results/slo.json``."""
    data = json.loads((RESULTS / "slo.json").read_text(encoding="utf-8"))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(data), encoding="utf-8")


def page(data: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    figures = data["figures"]
    baseline, policy = _policies(figures["comparison"])
    sections = [
        f"# `{policy}` on real engines",
        _what(figures, baseline, policy),
        "## Attainment\n\n" + _attainment(figures, baseline, policy),
        "## Where requests ended\n\n" + _ends(figures["runs"], (baseline, policy)),
        "## Pair by pair\n\n" + _pairs(figures["runs"], baseline, policy),
        "## The ramp\n\n" + _ramp(figures["ramp"]),
        "## What the gateway learned\n\n" + _learned(figures["learned"]),
        "## Made with\n\n" + _made(data),
    ]
    return "\n\n".join(sections) + "\n"


def _policies(comparison: dict[str, Any]) -> tuple[str, str]:
    figure = comparison["all"]["attainment"]
    names = [name for name in figure if name not in {"mean", "low", "high", "verdict"}]
    return names[0], names[1]


def _what(figures: dict[str, Any], baseline: str, policy: str) -> str:
    shape, runs = figures["shape"], figures["runs"]
    pairs = max(run["pair"] for run in runs)
    rates = sorted(run["rate_per_s"] for run in runs)
    late = [f"pair {run['pair']}, `{run['policy']}`" for run in runs if not run["valid"]]
    kept_up = (
        f"The client did not keep up in {'; '.join(late)}, so nothing is concluded."
        if late
        else f"The client kept up in all {len(runs)} runs."
    )
    return (
        f"Two llama.cpp engines with the same model, {shape['slots']} slots and a core each, one "
        f"of them capped at {shape['slow_share']:.0%} of its core's time, and an embedding engine "
        "stand behind `sage gateway`, which gives an engine no more requests than it has slots "
        "and keeps the rest in its own queue. The load leaves when it is due, whatever the "
        "answers do: of the LLM requests 70% are chat, streamed, and 30% bulk, with half as many "
        f"embedding requests beside them, at {rates[0]:.1f} to {rates[-1]:.1f} requests/s in all: "
        f"{figures['load']:g} times what the engines could do just before each pair.\n\n"
        f"Each of {pairs} pairs has one run under `{baseline}` (first come, first served, each "
        f"engine in turn) and one under `{policy}`, with the same moments and sizes; "
        "who goes first alternates. Times count from when a request was due. A request that "
        "fails, is refused or times out has missed, so attainment is over all that were issued. "
        f"Intervals are of the paired difference, 95%, Student's t. {kept_up}"
    )


def _attainment(figures: dict[str, Any], baseline: str, policy: str) -> str:
    comparison = figures["comparison"]
    valid = all(run["valid"] for run in figures["runs"])
    lines = [
        f"| class | objective | issued under each | `{baseline}` | `{policy}` | difference | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name, found in comparison.items():
        it = found["attainment"]
        verdict = it["verdict"] if valid else "not concluded"
        lines.append(
            f"| {name} | {_OBJECTIVES[name].format(**figures['mix'])} | {found['issued_in_each']} "
            f"| {it[baseline]:.1%} | {it[policy]:.1%} | {it['mean'] * 100:+.1f} points "
            f"({it['low'] * 100:+.1f} to {it['high'] * 100:+.1f}) | {verdict} |"
        )
    it = comparison["all"]["goodput"]
    lines.append(
        f"| goodput | requests/s within their objective | | {it[baseline]:.2f} | {it[policy]:.2f} "
        f"| {it['mean']:+.2f} ({it['low']:+.2f} to {it['high']:+.2f}) "
        f"| {it['verdict'] if valid else 'not concluded'} |"
    )
    return "\n".join(lines)


def _ends(runs: list[dict[str, Any]], policies: tuple[str, str]) -> str:
    ends = ("issued", "met", "late", "rejected", "timed_out", "failed")
    lines = [
        "Issued = met + late + rejected + timed out + failed, in each line and each run; the "
        "gateway's own counts were held against them after every run.\n",
        f"| policy | class | {' | '.join(end.replace('_', ' ') for end in ends)} |",
        "|---|---|" + "---:|" * len(ends),
    ]
    for policy in policies:
        mine = [run["outcomes"] for run in runs if run["policy"] == policy]
        for name in mine[0]:
            counts = " | ".join(str(sum(each[name][end] for each in mine)) for end in ends)
            lines.append(f"| `{policy}` | {name} | {counts} |")
    return "\n".join(lines)


def _pairs(runs: list[dict[str, Any]], baseline: str, policy: str) -> str:
    lines = [
        f"| pair | requests/s | first | chat, `{baseline}` | chat, `{policy}` | chat TTFT P50, ms "
        "| chat TTFT P99, ms | bulk E2E P50, ms | goodput | under way when the last was due |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for number in sorted({run["pair"] for run in runs}):
        first, second = [run for run in runs if run["pair"] == number]
        before, after = (first, second) if first["policy"] == baseline else (second, first)
        chats = [run["outcomes"]["chat"] for run in (before, after)]
        bulk = [run["outcomes"]["bulk"] for run in (before, after)]
        cells = [
            str(number),
            f"{first['rate_per_s']:.2f}",
            f"`{first['policy']}`",
            *(f"{chat['attainment']:.1%}" for chat in chats),
            *(" → ".join(_ms(chat["ttft_ms"], place) for chat in chats) for place in (0, 1)),
            " → ".join(_ms(one["e2e_ms"], 0) for one in bulk),
            " → ".join(f"{run['outcomes']['all']['goodput']:.2f}" for run in (before, after)),
            " → ".join(str(run["left_waiting"]) for run in (before, after)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ms(spread: list[float] | None, place: int) -> str:
    return "-" if spread is None else f"{spread[place]:,.0f}"


def _ramp(ramp: dict[str, Any]) -> str:
    lines = [
        f"The knee, where the LLM engines are full: {ramp['knee_per_s']:.2f} requests/s of all "
        "classes together.\n",
        "| offered, requests/s | answered, requests/s | chat TTFT P50, ms | chat attainment |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {step['offered_per_s']:.1f} | {step['answered_per_s']:.1f} "
        f"| {_or_dash(step['chat_ttft_p50_ms'], ',.0f')} "
        f"| {_or_dash(step['chat_attainment'], '.0%')} |"
        for step in ramp["steps"]
    ]
    return "\n".join(lines)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _learned(learned: dict[str, Any]) -> str:
    lines = [
        "From the traffic alone, at the end of the last run.\n",
        "| engine | prefill, ms a token | before it, ms | decode step, ms | P95 of TTFT over "
        "predicted |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, model in learned.items():
        if model is None:
            continue
        step = f"{model['step_s'] * 1e3:.1f}" if name != "embedding" else "-"
        lines.append(
            f"| {name} | {model['prefill_s_per_token'] * 1e3:.2f} "
            f"| {model['prefill_constant_s'] * 1e3:.0f} | {step} | {model['margin_p95']:.2f} |"
        )
    return "\n".join(lines)


def _made(data: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in data["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in data["versions"].items())
    return (
        f"`{data['command']}` on {data['date']}, in {data['figures']['took_s']:.0f} s. {machine}. "
        f"{versions}. Every run with its figures is in `benchmarks/results/slo.json`; this page is "
        "written from it by `python benchmarks/slo.py --page`.\n\nThe engines, the gateway and "
        "the load share the machine: the fast engine has a core to itself, the rest runs on the "
        "others. Each run's prompts have other words, so that no engine knows them from before."
    )
