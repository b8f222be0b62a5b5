"""The table of a profiled job: where the time goes, by operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.dataflow.result import OperatorReport


def profile_table(reports: Iterable[OperatorReport]) -> str:
    """Return a table of the time spent by operator, as `JobResult.profile` does."""
    reports = sorted(reports, key=lambda report: -report.busy)
    width = max((len(report.name) for report in reports), default=8)
    total = sum(report.busy for report in reports) or 1.0
    lines = [
        f"{'operator':<{width}}  {'records':>12}  {'seconds':>9}  {'share':>6}  µs/record  "
        f"{'p50':>8}  {'p95':>8}  {'p99':>8}  {'waited':>8}  {'blocked':>8}"
    ]
    for report in reports:
        records = report.records_in or report.records_out
        each = report.busy / records * 1e6 if records else 0.0
        latency = report.latency
        quantiles = (latency.p50, latency.p95, latency.p99) if latency else (None, None, None)
        lines.append(
            f"{report.name:<{width}}  {records:>12,}  {report.busy:>9.3f}  "
            f"{report.busy / total:>6.1%}  {each:>9.2f}  "
            + "  ".join(f"{seconds_text(seconds):>8}" for seconds in quantiles)
            + f"  {report.waited:>8.3f}  {report.blocked:>8.3f}"
        )
    return "\n".join(lines)


def seconds_text(seconds: float | None) -> str:
    """Return a time with a unit that suits it; a dash for none."""
    if seconds is None:
        return "–"
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"
