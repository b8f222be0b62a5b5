"""Rate limits: never exceeded in any span, and no slower than they allow."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.rate_limit import BURST_SECONDS, RateLimiter
from sage.errors import ConfigError

REQUESTS = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 500), st.integers(-100, 100)), min_size=1, max_size=60
)


@given(REQUESTS, st.floats(0.5, 50), st.floats(10, 1000))
def test_any_span(requests: list[tuple[float, int, int]], rate: float, tokens: float) -> None:
    """In every span no more begin than the rates allow, and they begin in order."""
    now = 0.0
    limiter = RateLimiter(rate, tokens, clock=lambda: now)
    begun: list[tuple[float, int]] = []
    for pause, size, _ in requests:
        now += pause
        begun.append((now + limiter.reserve(size), size))
    times = [at for at, _ in begun]
    assert times == sorted(times)
    bucket = max(1.0, rate * BURST_SECONDS)
    token_bucket = max(1.0, tokens * BURST_SECONDS)
    for first, (start, _) in enumerate(begun):
        total = 0
        for last in range(first, len(begun)):
            span = begun[last][0] - start
            total += begun[last][1]
            largest = max(size for _, size in begun[first : last + 1])
            assert last - first + 1 <= bucket + rate * span + 1e-6
            # One request larger than the bucket may leave a debt of its size.
            assert total <= max(token_bucket, largest) + largest + tokens * span + 1e-6


def test_full_speed() -> None:
    """A backlog begins as fast as the limit allows, evenly."""
    limiter = RateLimiter(5, clock=lambda: 100.0)
    assert [limiter.reserve(1) for _ in range(4)] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_tokens_and_correction() -> None:
    """What was estimated too high is given back; too low is waited for by the next request."""
    now = 0.0
    limiter = RateLimiter(tokens_per_second=100, clock=lambda: now)
    assert limiter.reserve(100) == 0.0  # the bucket was full
    assert limiter.reserve(10) == pytest.approx(1.0)  # a debt of 90 and its own 10
    limiter.correct(100, 10)
    assert limiter.reserve(10) == pytest.approx(1.0)  # in order: not before the one that waits
    now = 1.0
    limiter.correct(10, 60)
    limiter.correct(10, 10)
    assert limiter.reserve(10) > 0.0


def test_threads_share_it() -> None:
    """Replicas on several threads get one limit together."""
    limiter = RateLimiter(1000, clock=lambda: 0.0)
    delays: list[float] = []
    threads = [
        threading.Thread(target=lambda: delays.extend(limiter.reserve(1) for _ in range(50)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 100 at once (a tenth of a second's), the others a millisecond apart.
    assert max(delays) == pytest.approx(0.1)
    assert len(delays) == 200


@pytest.mark.anyio
async def test_waits() -> None:
    """The waiter really waits; without limits it does not."""
    await RateLimiter().wait(10**9)
    limiter = RateLimiter(50)
    start = time.monotonic()
    for _ in range(8):
        await limiter.wait(1)
    assert time.monotonic() - start >= 0.05


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_wrong_rates(rate: float) -> None:
    """A rate is above 0; the message names the option."""
    with pytest.raises(ConfigError, match="tokens_per_second"):
        RateLimiter(1, rate)
