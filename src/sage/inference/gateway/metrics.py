"""What the gateway measures of its requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from sage.inference.gateway.exchange import Exchange, Outcome

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
_TPOT_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)


class Histogram:
    """Counts of values up to each of some bounds, and their sum.

    Args:
        bounds: rising; a value counts under the first bound that is not below it.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return an estimate, linear within the bucket; None without values.

        A quantile above the last bound is that bound.
        """
        total = self.count
        if not total:
            return None
        rank = share * total
        below = 0
        for index, count in enumerate(self.counts[:-1]):
            if count and below + count >= rank:
                low = self.bounds[index - 1] if index else 0.0
                return low + (self.bounds[index] - low) * (rank - below) / count
            below += count
        return self.bounds[-1]


class Series:
    """The measurements of one model's requests of one class.

    Times are in seconds. TTFT and TPOT are of streamed answers: of others the client sees one
    moment only, which is in ``e2e``.

    Attributes:
        outcomes: requests by how they ended.
        queue: from the body's arrival to the first dispatch.
        ttft: from arrival to the first bytes.
        tpot: a token after the first, where the engine states how many there were.
        e2e: from arrival to the answer's end, of requests that were served.
        prompt, completion: tokens a request, as the engines state them.
        slo_met, slo_missed: requests with objectives; the failed and rejected missed theirs, the
            cancelled count in neither.
    """

    __slots__ = (
        "completion", "e2e", "outcomes", "prompt", "queue", "slo_met", "slo_missed", "tpot", "ttft",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.queue = Histogram(_SECONDS)
        self.ttft = Histogram(_SECONDS)
        self.tpot = Histogram(_TPOT_SECONDS)
        self.e2e = Histogram(_SECONDS)
        self.prompt = Histogram(_TOKENS)
        self.completion = Histogram(_TOKENS)
        self.slo_met = 0
        self.slo_missed = 0


class Metrics:
    """Told of each exchange once, at its end.

    Attributes:
        series: by (kind, model, class); model is empty for requests that no model took.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, str, str], Series] = {}

    def ended(self, exchange: Exchange) -> None:
        """Take in an exchange that has ended."""
        outcome = exchange.outcome
        assert outcome is not None
        series = self._series(exchange)
        series.outcomes[outcome] += 1
        arrived = exchange.arrived
        if exchange.dispatched_at:
            series.queue.observe(exchange.dispatched_at - exchange.submitted_at)
        tpot = None
        if exchange.streamed and exchange.first_byte_at:
            series.ttft.observe(exchange.first_byte_at - arrived)
            if outcome is Outcome.DONE and exchange.completion_tokens > 1:
                span = exchange.settled_at - exchange.first_byte_at
                tpot = span / (exchange.completion_tokens - 1)
                series.tpot.observe(tpot)
        if outcome is Outcome.DONE:
            series.e2e.observe(exchange.settled_at - arrived)
            if exchange.has_usage:
                series.prompt.observe(exchange.prompt_tokens)
                series.completion.observe(exchange.completion_tokens)
        if exchange.slo is not None and outcome is not Outcome.CANCELLED:
            if outcome is Outcome.DONE and _kept(exchange, tpot):
                series.slo_met += 1
            else:
                series.slo_missed += 1

    def _series(self, exchange: Exchange) -> Series:
        # A model that clients make up must not make a series.
        model = exchange.model if exchange.known else ""
        kind = exchange.kind or "" if exchange.known else ""
        key = (kind, model, exchange.terms.cls or kind or "none")
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series()
        return series

    def summary(self) -> list[dict[str, Any]]:
        """Return each series with its P50, P95 and P99, times in milliseconds."""
        return [
            {
                "kind": kind,
                "model": model,
                "class": request_class,
                "requests": {outcome.value: n for outcome, n in series.outcomes.items()},
                "queue_ms": _percentiles(series.queue),
                "ttft_ms": _percentiles(series.ttft),
                "tpot_ms": _percentiles(series.tpot),
                "e2e_ms": _percentiles(series.e2e),
                "prompt_tokens": int(series.prompt.sum),
                "completion_tokens": int(series.completion.sum),
                "slo": {"met": series.slo_met, "missed": series.slo_missed},
            }
            for (kind, model, request_class), series in sorted(self.series.items())
        ]


def _kept(exchange: Exchange, tpot: float | None) -> bool:
    slo = exchange.slo
    assert slo is not None
    if slo.deadline_s is not None and exchange.settled_at - exchange.arrived > slo.deadline_s:
        return False
    if slo.ttft_s is not None and exchange.first_byte_at - exchange.arrived > slo.ttft_s:
        return False
    return slo.tpot_s is None or tpot is None or tpot <= slo.tpot_s


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    found = {f"p{p}": histogram.quantile(p / 100) for p in (50, 95, 99)}
    return {
        name: None if value is None else round(value * 1000, 3) for name, value in found.items()
    }
