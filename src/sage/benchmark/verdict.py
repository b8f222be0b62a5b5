"""Whether the client kept up with what it was to do: its verdict on itself."""

from __future__ import annotations

from dataclasses import dataclass

from sage.benchmark.load import LoadResult
from sage.benchmark.statistics import percentile

_TOLERANCE_MS = 10.0
_TOLERANCE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """The client's own part in a run.

    Attributes:
        valid: False when the client was the bottleneck, so that the figures show it, not the
            server.
        reason: why not; empty when valid.
        send_lag_p99_ms: how late requests left that were free to leave.
        loop_lag_p99_ms: how late the client's own timers fired.
        cpu_share: of one core that the load's thread used.
        asked_rate: requests per second that were to leave; 0 for a closed loop.
        held_rate: requests per second that did leave, or answers that were taken in, whichever
            were fewer: what the client could hold when it was late.
    """

    valid: bool
    reason: str
    send_lag_p99_ms: float
    loop_lag_p99_ms: float
    cpu_share: float
    asked_rate: float
    held_rate: float


def judge(result: LoadResult) -> Verdict:
    """Judge a load.

    The client was the bottleneck when it, not the server and not a limit it was given, made
    requests late by more than 10 ms and more than 5% of the median latency, at the 99th percentile.
    """
    exchanges = result.exchanges
    lags = sorted((item.sent - item.ready) * 1000 for item in exchanges)
    beats = sorted(beat * 1000 for beat in result.beats)
    latencies = sorted((item.ended - item.intended) * 1000 for item in exchanges)
    send_lag = percentile(lags, 0.99) if lags else 0.0
    loop_lag = percentile(beats, 0.99) if beats else 0.0
    median = percentile(latencies, 0.5) if latencies else 0.0
    tolerance = max(_TOLERANCE_MS, _TOLERANCE_SHARE * median)
    held = min(_rate([item.sent for item in exchanges]), _rate([item.ended for item in exchanges]))
    reason = ""
    if max(send_lag, loop_lag) > tolerance:
        what = "requests left" if send_lag >= loop_lag else "its timers fired"
        reason = (
            f"the client was the bottleneck: {what} up to {max(send_lag, loop_lag):.1f} ms late "
            f"(P99; {tolerance:.1f} ms is tolerated); it held {held:.0f} requests/s"
        )
    return Verdict(
        not reason,
        reason,
        send_lag,
        loop_lag,
        result.cpu_s / result.wall_s if result.wall_s else 0.0,
        _rate([item.intended for item in exchanges]),
        held,
    )


def _rate(moments: list[float]) -> float:
    if len(moments) < 2:
        return 0.0
    span = max(moments) - min(moments)
    return (len(moments) - 1) / span if span > 0 else 0.0
