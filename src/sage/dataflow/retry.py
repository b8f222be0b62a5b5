"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sage.dataflow.checks import check_count
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter.

    Attributes:
        attempts: how often a record is tried in all, the first time included.
        first_delay: seconds before the second attempt.
        factor: by which the delay grows with each attempt.
        max_delay: most seconds between two attempts.
        jitter: share of the delay that is random, from 0 to 1, so that replicas that failed
            together do not come back together.
        deadline: seconds after the first attempt began from which on no other one begins.
        retry_on: exceptions that are worth another attempt; others fail at once.
    """

    attempts: int = 3
    first_delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: float = 0.5
    deadline: float | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        check_count("retry attempts", self.attempts)
        for name in ("first_delay", "max_delay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"retry {name} is {getattr(self, name)!r}; give seconds from 0")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"retry jitter is {self.jitter!r}; give a share from 0 to 1")
        if self.factor < 1:
            raise ConfigError(f"retry factor is {self.factor!r}; give a number from 1")

    def delay(
        self,
        failures: int,
        error: Exception,
        elapsed: float,
        uniform: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None when there is to be none.

        Args:
            failures: attempts that have failed, from 1.
            error: what the last one raised. Its ``retry_after`` in seconds, if it has one, is the
                least that is waited.
            elapsed: seconds since the first attempt began.
            uniform: a random number from 0 to 1.
        """
        if failures >= self.attempts or not isinstance(error, self.retry_on):
            return None
        delay = backoff(failures, self.first_delay, self.factor, self.max_delay)
        delay *= 1 - self.jitter * uniform()
        wait = max(delay, getattr(error, "retry_after", None) or 0.0)
        if self.deadline is not None and elapsed + wait > self.deadline:
            return None
        return wait


def backoff(failures: int, first_delay: float, factor: float, max_delay: float) -> float:
    """Return the seconds to wait after so many failures, from 1, before any jitter."""
    try:
        return min(first_delay * factor ** (failures - 1), max_delay)
    except OverflowError:
        return max_delay if first_delay else 0.0
