"""The circuit breaker of one instance: a state machine that is told the time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from sage.errors import ConfigError


class BreakerState(StrEnum):
    """Whether an instance is given requests."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When an instance is left alone, and for how long; every value is above zero.

    Attributes:
        failures: least number of failed attempts that opens the breaker.
        share: least share of failed attempts among all since the first failure, 0 to 1.
        window: seconds after which failures are forgotten.
        first_pause: seconds the breaker stays open the first time.
        longest_pause: bound on that time, which doubles with each failed probe.
    """

    failures: int = 5
    share: float = 0.5
    window: float = 10.0
    first_pause: float = 1.0
    longest_pause: float = 30.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not value > 0:
                raise ConfigError(f"breaker {item.name} is {value}; it must be above 0")
        if self.share > 1:
            raise ConfigError(f"breaker share is {self.share}; it must be at most 1")
        if self.longest_pause < self.first_pause:
            raise ConfigError(
                f"breaker longest_pause is {self.longest_pause}, below first_pause, "
                f"{self.first_pause}"
            )


class Breaker:
    """Opens after failures, lets one probe through after a pause, closes when it succeeds.

    Told of attempts: a connection error or a 5xx answer is a failure, every other answer a
    success; a 4xx or a 429 says that the instance is at work. An attempt that the client broke
    off says nothing and is not told.

    Args:
        rule: when to open and for how long.
    """

    __slots__ = ("_failures", "_pause", "_rule", "_since", "_successes", "_until", "state")

    def __init__(self, rule: BreakerRule) -> None:
        self.state = BreakerState.CLOSED
        self._rule = rule
        self._failures = 0
        self._successes = 0
        self._since = 0.0
        self._pause = rule.first_pause
        self._until = 0.0

    @property
    def watchful(self) -> bool:
        """Whether a success would matter; while it would not, it need not be told."""
        return self._failures > 0 or self.state is not BreakerState.CLOSED

    def succeeded(self, now: float) -> bool:
        """An attempt was answered; return whether the state changed."""
        if self.state is BreakerState.HALF_OPEN:
            self._close()
            return True
        if self._failures:
            self._forget(now)
            self._successes += 1
        return False

    def failed(self, now: float) -> bool:
        """An attempt failed; return whether the state changed."""
        if self.state is BreakerState.OPEN:
            return False
        if self.state is BreakerState.HALF_OPEN:
            self._pause = min(self._pause * 2, self._rule.longest_pause)
            self._open(now)
            return True
        self._forget(now)
        if not self._failures:
            self._since = now
        self._failures += 1
        share = self._failures / (self._failures + self._successes)
        if self._failures < self._rule.failures or share < self._rule.share:
            return False
        self._open(now)
        return True

    def tick(self, now: float) -> bool:
        """Time has passed; return whether the pause is over, so that one probe may go."""
        if self.state is not BreakerState.OPEN or now < self._until:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def reset(self) -> None:
        """Forget everything: a health probe or a person found the instance well."""
        self._close()

    def _forget(self, now: float) -> None:
        if self._failures and now - self._since > self._rule.window:
            self._failures = self._successes = 0

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._until = now + self._pause
        self._failures = self._successes = 0

    def _close(self) -> None:
        self.state = BreakerState.CLOSED
        self._failures = self._successes = 0
        self._pause = self._rule.first_pause
