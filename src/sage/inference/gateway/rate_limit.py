"""Rate limits by API key: requests a second and tokens a minute, without I/O or a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What one key may do.

    Attributes:
        requests_per_second: on average; a burst may hold one second's worth, and at least one
            request. None is no limit.
        tokens_per_minute: prompt and completion together, on average; a burst may hold one
            minute's worth. None is no limit.

    Raises:
        ConfigError: a limit is not above 0.
    """

    requests_per_second: float | None = None
    tokens_per_minute: float | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be above 0, or left out")

    @property
    def bounded(self) -> bool:
        """Whether there is any limit."""
        return self.requests_per_second is not None or self.tokens_per_minute is not None


class TokenBucket:
    """A bucket that fills at a steady rate up to its size, and may be left in debt.

    Args:
        size: what it holds at most; it begins full.
        rate: what flows in, a second.
        now: seconds, of the clock that every later call uses.
    """

    __slots__ = ("_at", "_level", "rate", "size")

    def __init__(self, size: float, rate: float, now: float) -> None:
        self.size = size
        self.rate = rate
        self._level = size
        self._at = now

    def level(self, now: float) -> float:
        """Return what is in it; below 0 in debt."""
        if now > self._at:
            self._level = min(self.size, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until the amount may be taken; 0 when it may be now.

        More than the bucket's size may be taken when it is full: it is in debt then until that
        has flowed in, so that no request is too large for ever, and the average holds.
        """
        lacking = min(amount, self.size) - self.level(now)
        # What is lacking by less than the clock can tell is there.
        return lacking / self.rate if lacking > self.size * 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take the amount out, or put it back when it is negative."""
        self._level = min(self.size, self.level(now) - amount)

    def full_in(self, now: float) -> float:
        """Return the seconds until it is full when nothing more is taken."""
        return (self.size - self.level(now)) / self.rate


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a key stands with one of its limits.

    Attributes:
        name: ``requests`` or ``tokens``.
        limit: what may be taken at once at most.
        remaining: what may be taken now.
        reset_s: seconds until all of it may be.
    """

    name: str
    limit: int
    remaining: int
    reset_s: float


class KeyLimiter:
    """The limits of one key.

    Args:
        limit: what it may do.
        now: seconds.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        rps, tpm = limit.requests_per_second, limit.tokens_per_minute
        self._buckets: dict[str, TokenBucket] = {}
        if rps is not None:
            self._buckets["requests"] = TokenBucket(max(1.0, rps), rps, now)
        if tpm is not None:
            self._buckets["tokens"] = TokenBucket(tpm, tpm / 60, now)

    def admit(self, tokens: int, now: float) -> tuple[float, str]:
        """Take one request of so many tokens, if every limit allows it.

        Args:
            tokens: as they are estimated.
            now: seconds.

        Returns:
            Seconds to wait and the limit that says so; 0 and nothing when it was taken.
        """
        wait, name = max(
            ((b.wait(_amount(n, tokens), now), n) for n, b in self._buckets.items()),
            default=(0.0, ""),
        )
        if wait > 0:
            return wait, name
        for each, bucket in self._buckets.items():
            bucket.take(_amount(each, tokens), now)
        return 0.0, ""

    def put_right(self, estimated: int, actual: int, now: float) -> None:
        """Charge the tokens a request took in place of those it was estimated to take."""
        bucket = self._buckets.get("tokens")
        if bucket is not None:
            bucket.take(actual - estimated, now)

    def standing(self, now: float) -> list[Standing]:
        """Return where the key stands with each of its limits."""
        return [
            Standing(name, int(b.size), max(0, int(b.level(now) + 1e-6)), b.full_in(now))
            for name, b in self._buckets.items()
        ]


def _amount(name: str, tokens: int) -> int:
    return 1 if name == "requests" else tokens


class RateLimits:
    """The limiters of all keys that have limits, by tenant."""

    def __init__(self) -> None:
        self._limiters: dict[str, KeyLimiter] = {}

    def __bool__(self) -> bool:
        return bool(self._limiters)

    def set(self, limits: Mapping[str, RateLimit], now: float) -> None:
        """Let other limits hold; a key whose limits stay the same keeps what it has used."""
        old = self._limiters
        self._limiters = {
            tenant: old[tenant]
            if tenant in old and old[tenant].limit == limit
            else KeyLimiter(limit, now)
            for tenant, limit in limits.items()
            if limit.bounded
        }

    def get(self, tenant: str) -> KeyLimiter | None:
        """Return a tenant's limiter, if it has one."""
        return self._limiters.get(tenant)
