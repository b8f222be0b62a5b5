"""The rows of docs/scheduling.md that say what policies make of each load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "azure": "Azure",
    "mooncake": "Mooncake",
    "bursty": "gamma, CV 3.5",
    "waves": "waves",
    "prefixes": "shared prefixes",
    "mixed": "chat and embeddings",
}
POLICIES = ("round_robin", "lmetric", "slo_aware", "hybrid_slo")
SUSTAINING = ("round_robin", "fifo", "lmetric", "slo_aware", "hybrid_slo")
_LEAST_LOAD = 1.0


def rows(figures: Mapping[str, Any]) -> list[str]:
    """Return a row for each case and load of `benchmarks/results/policies.json` from 1 on."""
    found = []
    for case, name in NAMES.items():
        loads = zip(*(figures[f"{case}/4/{policy}"] for policy in POLICIES), strict=True)
        for by_policy in loads:
            if by_policy[0]["load"] < _LEAST_LOAD:
                continue
            cells = " | ".join(_cell(row) for row in by_policy)
            found.append(f"| {name}, {by_policy[0]['offered']:.0f} | {cells} |")
    return found


def behind(figures: Mapping[str, Any], engines: int) -> float:
    """Return by which share hybrid_slo is behind the best other, at its worst load and seed."""
    return float(min(figures[f"{case}/{engines}/behind"]["share"] for case in NAMES))


def sustained_rows(figures: Mapping[str, Any], engines: int) -> list[str]:
    """Return a row for each case: what each policy sustains at 90% and 99%."""
    found = []
    for case, name in NAMES.items():
        rates = [figures.get(f"{case}/{engines}/{policy}/sustained") for policy in SUSTAINING]
        if rates[0] is not None:
            cells = " | ".join(f"{low:.0f}, {high:.0f}" for low, high in rates)
            found.append(f"| {name} | {cells} |")
    return found


def overload_rows(figures: Mapping[str, Any], engines: int) -> list[str]:
    """Return a row for each case: hybrid_slo beside the best plan found, and slo_aware."""
    found = []
    for case, name in NAMES.items():
        its = figures[f"{case}/{engines}/overload"]
        ours, theirs = (its["interactive"][policy] for policy in ("hybrid_slo", "slo_aware"))
        found.append(
            f"| {name} | {its['offered']:.0f} | {its['good']:,} | {its['reference']:,} | "
            f"{its['good'] / its['reference']:.1%} | {its['bound']:,.0f} | "
            f"{ours:.0%}, {theirs:.0%} |"
        )
    return found


def _cell(row: Mapping[str, Any]) -> str:
    digits = 1 if row["offered"] < 20 else 0
    return f"{row['good']:.{digits}f}, {row['interactive']:.0%}"
