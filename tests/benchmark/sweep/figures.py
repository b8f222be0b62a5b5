"""Figures of runs that only say how much was in the SLO."""

from __future__ import annotations

from sage.benchmark.sweep.outcome import Figures


def figures(attainment: float, *, ttft_ms: float | None = 10.0) -> dict[str, Figures]:
    """Return the figures of a run of 100 requests in a second, of one class."""
    one = Figures(
        issued=100,
        failed=0,
        attainment=attainment,
        goodput=100 * attainment,
        requests_per_s=100.0,
        output_tokens_per_s=1000.0,
        ttft_p50_ms=ttft_ms,
        ttft_p99_ms=ttft_ms,
        tpot_p50_ms=None,
        tpot_p99_ms=None,
        e2e_p50_ms=20.0,
        e2e_p99_ms=30.0,
    )
    return {"chat": one, "all": one}
