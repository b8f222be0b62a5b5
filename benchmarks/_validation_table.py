"""The rows of docs/calibrate.md that say how close the simulator is to live engines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any


def rows(figures: Mapping[str, Any]) -> list[str]:
    """Return a row for each engine and load of `benchmarks/results/validation.json`."""
    return [_row(key.split(" at ")[0], row) for key, row in figures.items() if " at " in key]


def _row(engine: str, row: Mapping[str, Any]) -> str:
    each = ", ".join(f"{ratio:.2f}" for ratio in sorted(row["ratios"]["ttft_p50_ms"]))
    cells = (
        engine,
        f"{row['share']:g}",
        f"{row['rate']:.2f}",
        str(row["requests"]),
        f"{row['ratio']['ttft_p50_ms']:.2f} ({each})",
        f"{row['ratio']['tpot_p50_ms']:.2f}",
        f"{row['ratio']['output_tokens_per_s']:.2f}",
        f"{statistics.median(row['step_ratios']):.2f}",
    )
    return f"| {' | '.join(cells)} |"
