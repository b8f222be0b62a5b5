"""When a refused request is tried again; no clock, no randomness of its own."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, led by the server's Retry-After.

    Attributes:
        retries: tries after the first; 0 turns retrying off.
        base_s: seconds before the first retry, doubled for each further one.
        cap_s: the longest backoff, in seconds.
        longest_wait_s: a Retry-After beyond this many seconds is not waited for: the error is
            raised at once, and carries it.
    """

    retries: int = 2
    base_s: float = 0.25
    cap_s: float = 8.0
    longest_wait_s: float = 30.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; give 0 or more")

    def delay(self, attempt: int, retry_after: float | None, jitter: float) -> float | None:
        """Seconds to wait before the next try, or ``None`` to give up.

        Args:
            attempt: how many retries were made already.
            retry_after: what the server asked for, in seconds.
            jitter: a number drawn from [0, 1); spreads clients that were refused together.
        """
        if attempt >= self.retries:
            return None
        if retry_after is None:
            return float(min(self.cap_s, self.base_s * 2**attempt)) * (0.5 + jitter / 2)
        if retry_after > self.longest_wait_s:
            return None
        # Never earlier than asked; up to a tenth (at least the base) later.
        return retry_after + max(self.base_s, retry_after / 10) * jitter
