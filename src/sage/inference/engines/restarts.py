"""When a dead engine is started again, and when it is given up."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RestartRule:
    """How often and how fast to restart.

    Attributes:
        first_delay: seconds before the first restart.
        longest_delay: bound on the delay, which doubles with each death in the window.
        jitter: share of the delay added at random, so that engines do not start together.
        window: seconds over which deaths are counted.
        most_deaths: deaths in the window after which the engine is given up.
    """

    first_delay: float = 0.5
    longest_delay: float = 30.0
    jitter: float = 0.2
    window: float = 120.0
    most_deaths: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.first_delay <= self.longest_delay:
            raise ConfigError(
                f"restart delays must rise from above 0: {self.first_delay}, {self.longest_delay}"
            )
        if self.most_deaths < 1 or self.window <= 0 or self.jitter < 0:
            raise ConfigError(
                f"most_deaths must be at least 1, window above 0 and jitter at least 0: {self}"
            )


class RestartState:
    """The deaths of one engine; pure: told the time, and seeded.

    Args:
        rule: how often and how fast.
        seed: of the jitter.
    """

    def __init__(self, rule: RestartRule, seed: int) -> None:
        self._rule = rule
        self._deaths: deque[float] = deque()
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret

    def died(self, now: float) -> float | None:
        """Count a death; return seconds until the restart, or None to give the engine up."""
        self._deaths.append(now)
        while self._deaths[0] < now - self._rule.window:
            self._deaths.popleft()
        if len(self._deaths) >= self._rule.most_deaths:
            return None
        delay = self._rule.first_delay * 2.0 ** (len(self._deaths) - 1)
        return min(delay, self._rule.longest_delay) * (
            1 + self._rule.jitter * self._random.random()
        )
