"""Limits in requests and tokens a second, shared by the replicas of an operator."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from sage.errors import ConfigError

# A bucket holds so many seconds' worth: enough to even out the event loop's own delays, too little
# for a server that counts by the second to notice.
BURST_SECONDS = 0.1


class TokenBucket:
    """Fills at a steady rate up to its capacity; pure, so every call is given the time.

    In any span of ``s`` seconds at most ``capacity + rate * s`` is taken; a taking that is larger
    than the bucket itself waits for a full one and leaves a debt.

    Args:
        rate: units a second.
        capacity: most units that it holds; it is full at first.
        now: seconds.
    """

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._filled_at = now

    def delay(self, amount: float, now: float) -> float:
        """Return the seconds from ``now`` until ``amount`` can be taken."""
        self._fill(now)
        return max(0.0, min(amount, self._capacity) - self._level) / self._rate

    def take(self, amount: float, now: float) -> None:
        """Take ``amount``; a negative one is given back."""
        self._fill(now)
        self._level = min(self._level - amount, self._capacity)

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            gained = (now - self._filled_at) * self._rate
            self._level = min(self._level + gained, self._capacity)
            self._filled_at = now


class RateLimiter:
    """Says when a request may begin: in the order they are asked for, each as early as allowed.

    Any number of threads and event loops may share one.

    Args:
        requests_per_second: most requests that begin in a second; None for no limit.
        tokens_per_second: most tokens of the requests that begin in a second; None for no limit.
        clock: seconds.

    Raises:
        ConfigError: a rate is not above 0.
    """

    def __init__(
        self,
        requests_per_second: float | None = None,
        tokens_per_second: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()
        self._requests = self._bucket("requests_per_second", requests_per_second)
        self._tokens = self._bucket("tokens_per_second", tokens_per_second)

    def reserve(self, tokens: int) -> float:
        """Take one request's place; return the seconds to wait before it begins.

        Args:
            tokens: an estimate of what it will use, for both prompt and answer.
        """
        with self._lock:
            # Both limits hold at the moment it begins, which is never before an earlier request's.
            earliest = max(self._clock(), self._last)
            asked = [
                (bucket, amount)
                for bucket, amount in ((self._requests, 1), (self._tokens, tokens))
                if bucket is not None
            ]
            delays = (bucket.delay(amount, earliest) for bucket, amount in asked)
            self._last = earliest + max(delays, default=0.0)
            for bucket, amount in asked:
                bucket.take(amount, self._last)
            return self._last - self._clock()

    def correct(self, estimated: int, used: int) -> None:
        """Take the difference between an estimate and what the server says that it used."""
        if self._tokens is not None:
            with self._lock:
                self._tokens.take(used - estimated, self._clock())

    async def wait(self, tokens: int) -> None:
        """Wait until a request of so many tokens may begin."""
        if self._requests is None and self._tokens is None:
            return
        delay = self.reserve(tokens)
        if delay > 0:
            await asyncio.sleep(delay)

    def _bucket(self, name: str, rate: float | None) -> TokenBucket | None:
        if rate is None:
            return None
        if not 0 < rate < float("inf"):
            raise ConfigError(f"{name} is {rate!r}; give a number above 0, or None for no limit")
        return TokenBucket(rate, max(1.0, rate * BURST_SECONDS), self._clock())
