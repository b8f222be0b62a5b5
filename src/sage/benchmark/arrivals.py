"""When requests are to leave: arrival patterns as pure functions of a seeded generator.

A pattern yields offsets from the start in seconds, never decreasing, without end. The load
takes as many as it needs, so the same seed gives the same arrivals however many are asked for.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sage.errors import ConfigError


class ArrivalPattern(StrEnum):
    """How requests are spread over time.

    The closed loop has no arrival times: each of its users sends when the answer before has come.
    """

    CONSTANT = "constant"
    POISSON = "poisson"
    GAMMA = "gamma"
    BURST = "burst"
    RAMP = "ramp"
    CLOSED = "closed"


PATTERNS = tuple(pattern.value for pattern in ArrivalPattern)
"""Their names, as users write them."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open-loop arrival process.

    Attributes:
        pattern: its shape.
        rate: mean requests per second; for a ramp, the rate at its end.
        cv: coefficient of variation of gamma's gaps; 1 is Poisson, larger is burstier.
        burst_size: requests that leave at the same moment, for bursts.
        ramp_from: rate at the ramp's start, requests per second.
        ramp_s: seconds from the start of the ramp to its end; the end rate holds from then on.

    Raises:
        ConfigError: a value that no process can have.
    """

    pattern: ArrivalPattern = ArrivalPattern.POISSON
    rate: float = 2.0
    cv: float = 2.0
    burst_size: int = 10
    ramp_from: float = 1.0
    ramp_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("rate", "cv", "ramp_from", "ramp_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}; it must be a positive number")
        if self.burst_size < 1:
            raise ConfigError(f"burst_size is {self.burst_size}; it must be at least 1")

    def times(self, rng: random.Random) -> Iterator[float]:
        """Yield offsets in seconds, for ever; the first gap comes before the first request.

        Raises:
            ConfigError: the closed loop, which has no times of its own.
        """
        if self.pattern is ArrivalPattern.CONSTANT:
            return self._constant()
        if self.pattern is ArrivalPattern.POISSON:
            return _summed(lambda: rng.expovariate(self.rate))
        if self.pattern is ArrivalPattern.GAMMA:
            shape = 1 / self.cv**2
            return _summed(lambda: rng.gammavariate(shape, 1 / (self.rate * shape)))
        if self.pattern is ArrivalPattern.BURST:
            return self._burst(rng)
        if self.pattern is ArrivalPattern.RAMP:
            return self._ramp(rng)
        raise ConfigError("a closed loop has no arrival times; it takes a number of users")

    def _constant(self) -> Iterator[float]:
        number = 0
        while True:
            yield number / self.rate
            number += 1

    def _burst(self, rng: random.Random) -> Iterator[float]:
        """Groups of burst_size at Poisson moments, whose mean rate is the one asked for."""
        now = 0.0
        while True:
            now += rng.expovariate(self.rate / self.burst_size)
            for _ in range(self.burst_size):
                yield now

    def _ramp(self, rng: random.Random) -> Iterator[float]:
        """A Poisson process of growing rate: unit-rate arrivals through its inverse integral."""
        mass = 0.0
        slope = (self.rate - self.ramp_from) / self.ramp_s
        whole = (self.ramp_from + self.rate) / 2 * self.ramp_s
        while True:
            mass += rng.expovariate(1.0)
            if mass >= whole:
                yield self.ramp_s + (mass - whole) / self.rate
            elif slope == 0:
                yield mass / self.rate
            else:
                root = math.sqrt(self.ramp_from**2 + 2 * slope * mass)
                yield (root - self.ramp_from) / slope


def _summed(gap: Callable[[], float]) -> Iterator[float]:
    now = 0.0
    while True:
        now += gap()
        yield now
