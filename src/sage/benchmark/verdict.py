"""Whether the client kept up with what it was to do: its verdict on itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.statistics import percentile

_TOLERANCE_MS = 10.0
_TOLERANCE_SHARE = 0.05
_CPU_SHARE = 0.9
_SHORTEST_S = 0.5  # what a shorter time takes of a core is mostly its start
_OWN_LIMITS = tuple(
    os.strerror(code)
    for code in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The client's own part in a run.

    Attributes:
        valid: False when the client was the bottleneck, so that the figures show it, not the
            server.
        reason: why not; empty when valid.
        send_lag_p99_ms: how late requests left that were free to leave.
        loop_lag_p99_ms: how late the client's own timers fired.
        cpu_share: of one core that the load's thread used while requests left.
        asked_rate: requests per second that were to leave; 0 for a closed loop.
        held_rate: requests per second that did leave, or answers that were taken in, whichever
            were fewer: what the client could hold when it was late. Rates are those of the middle
            half of the requests, so that a few long answers at the end change none.
        refused_here: requests that this machine could not send, for want of ports or files.
    """

    valid: bool
    reason: str
    send_lag_p99_ms: float
    loop_lag_p99_ms: float
    cpu_share: float
    asked_rate: float
    held_rate: float
    refused_here: int = 0


def judge(result: LoadResult) -> Verdict:
    """Judge a load.

    The client was the bottleneck when it, not the server and not a limit it was given,

    - made requests late by more than 10 ms and more than 5% of the median latency of the answers,
      at the 99th percentile;
    - or used 90% of a core or more, since then its own queue is part of every latency;
    - or could not open connections that it needed.
    """
    exchanges = result.exchanges
    # A request that was given up took as long as the time limit says; it may not excuse a lag.
    answered = [item for item in exchanges if item.failure is None and not item.interrupted]
    held = min(_rate([item.sent for item in exchanges]), _rate([item.ended for item in answered]))
    found = Verdict(
        valid=True,
        reason="",
        send_lag_p99_ms=_p99([item.sent - item.ready for item in exchanges]),
        loop_lag_p99_ms=_p99(result.beats),
        cpu_share=_cpu_share(result),
        asked_rate=_rate([item.intended for item in exchanges]),
        held_rate=held,
        refused_here=sum(map(_refused_here, exchanges)),
    )
    reason = _why(found, _tolerance(answered))
    if reason:
        reason = f"the client was the bottleneck: {reason}; it held {held:.0f} requests/s"
    return replace(found, valid=not reason, reason=reason)


def _why(found: Verdict, tolerance: float) -> str:
    lag = max(found.send_lag_p99_ms, found.loop_lag_p99_ms)
    if found.refused_here:
        return f"{found.refused_here} requests found no free port or file on this machine"
    if lag > tolerance:
        what = "requests left" if found.send_lag_p99_ms == lag else "its timers fired"
        return f"{what} up to {lag:.1f} ms late (P99; {tolerance:.1f} ms is tolerated)"
    if found.cpu_share >= _CPU_SHARE:
        return f"it used {found.cpu_share:.0%} of its core (under {_CPU_SHARE:.0%} is tolerated)"
    return ""


def _tolerance(answered: Sequence[Exchange]) -> float:
    latencies = sorted((item.ended - item.intended) * 1000 for item in answered)
    median = percentile(latencies, 0.5) if latencies else 0.0
    return max(_TOLERANCE_MS, _TOLERANCE_SHARE * median)


def _p99(seconds: Sequence[float]) -> float:
    return percentile(sorted(seconds), 0.99) * 1000 if seconds else 0.0


def _cpu_share(result: LoadResult) -> float:
    """While requests leave and over the whole run, whichever is more."""
    times = ((result.sending_cpu_s, result.sending_s), (result.cpu_s, result.wall_s))
    return max((cpu / wall for cpu, wall in times if wall >= _SHORTEST_S), default=0.0)


def _refused_here(exchange: Exchange) -> bool:
    return exchange.failure is Failure.CONNECT and any(
        text in exchange.detail for text in _OWN_LIMITS
    )


def _rate(moments: Sequence[float]) -> float:
    """Return how many there are per second, from the first quarter's end to the last's begin."""
    ordered = sorted(moments)
    first, last = len(ordered) // 4, len(ordered) - 1 - len(ordered) // 4
    span = ordered[last] - ordered[first] if last > first else 0.0
    return (last - first) / span if span > 0 else 0.0
