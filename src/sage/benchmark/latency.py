"""The latencies of one request, and whether it kept to its SLO."""

from __future__ import annotations

from sage.benchmark.exchange import Exchange


def ttft_ms(exchange: Exchange) -> float:
    """Milliseconds to the first token; the whole answer's when it came in one piece."""
    return (exchange.token_times[0] - exchange.intended) * 1000


def e2e_ms(exchange: Exchange) -> float:
    """Milliseconds to the answer's end."""
    return (exchange.ended - exchange.intended) * 1000


def tpot_ms(exchange: Exchange) -> float | None:
    """Mean milliseconds for each token after the first; None without a second token in time."""
    times = exchange.token_times
    if len(times) < 2 or exchange.output_tokens < 2:
        return None
    return (times[-1] - times[0]) * 1000 / (exchange.output_tokens - 1)


def meets(exchange: Exchange) -> bool:
    """Whether the answer is good and within every limit of its request's SLO."""
    if exchange.failure is not None:
        return False
    slo = exchange.request.slo
    if slo is None:
        return True
    first = ttft_ms(exchange) if exchange.token_times else None
    return (
        _within(first, slo.ttft_s)
        and _within(tpot_ms(exchange), slo.tpot_s)
        and _within(e2e_ms(exchange), slo.deadline_s)
    )


def _within(milliseconds: float | None, limit_s: float | None) -> bool:
    return milliseconds is None or limit_s is None or milliseconds <= limit_s * 1000
