"""Whether a job that has failed starts again, and after how long. Pure: times are given."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sage.dataflow.checks import check_count, check_seconds
from sage.dataflow.retry import backoff
from sage.errors import ConfigError, UnknownKeyError, shorten


@runtime_checkable
class RestartPolicy(Protocol):
    """Decides after each failure of a job."""

    def wait_after(self, failures: Sequence[float]) -> float | None:
        """Return the seconds to wait before the job starts again, or None to give it up.

        Args:
            failures: when the job has failed, in seconds of a clock that never goes back, the
                last of them now; never empty.
        """


@dataclass(frozen=True, slots=True)
class NoRestart:
    """The first failure is the last."""

    def wait_after(self, failures: Sequence[float]) -> float | None:  # noqa: ARG002 - all alike
        """Give up."""
        return None


@dataclass(frozen=True, slots=True)
class FixedDelay:
    """Starts again a number of times, each after the same time.

    Attributes:
        attempts: how often the job is started again in all.
        delay: seconds before each.
    """

    attempts: int = 3
    delay: float = 1.0

    def __post_init__(self) -> None:
        _check_count("attempts", self.attempts)
        check_seconds("restart delay", self.delay)

    def wait_after(self, failures: Sequence[float]) -> float | None:
        """Wait as long as always, unless all attempts are used up."""
        return self.delay if len(failures) <= self.attempts else None


@dataclass(frozen=True, slots=True)
class Exponential:
    """Waits longer after each failure, and anew after a time without one.

    Attributes:
        first_delay: seconds before the first start.
        factor: by which the delay grows with each failure.
        max_delay: most seconds before a start.
        reset_after: seconds from one failure to the next after which the earlier ones are
            forgotten; more than ``max_delay``, which would do that by itself otherwise.
        jitter: share of the delay that is random, from 0 to 1.
        attempts: how often the job is started again, those forgotten aside; None is without end.
        uniform: gives random numbers from 0 to 1.
    """

    first_delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    reset_after: float = 600.0
    jitter: float = 0.1
    attempts: int | None = None
    uniform: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("first_delay", "max_delay"):
            check_seconds(f"restart {name}", getattr(self, name))
        check_seconds("restart reset_after", self.reset_after, above=True)
        check_count("restart attempts", self.attempts)
        _check_number("factor", self.factor, "a number from 1", least=1)
        _check_number("jitter", self.jitter, "a share from 0 to 1", least=0, most=1)
        if not callable(self.uniform):
            raise ConfigError(f"restart uniform is {shorten(self.uniform)}; give a function")
        if self.reset_after <= self.max_delay:
            raise ConfigError(
                f"restart reset_after is {self.reset_after!r} and max_delay {self.max_delay!r}; "
                "give reset_after more seconds than max_delay"
            )

    def wait_after(self, failures: Sequence[float]) -> float | None:
        """Wait the longer, the more failures came close upon each other."""
        in_a_row = 1
        for earlier, later in zip(reversed(failures[:-1]), reversed(failures), strict=False):
            if later - earlier >= self.reset_after:
                break
            in_a_row += 1
        if self.attempts is not None and in_a_row > self.attempts:
            return None
        delay = backoff(in_a_row, self.first_delay, self.factor, self.max_delay)
        return delay * (1 - self.jitter * self.uniform())


@dataclass(frozen=True, slots=True)
class FailureRate:
    """Starts again as long as failures are rare.

    Attributes:
        failures: how many there may be within that time.
        within: seconds.
        delay: seconds before each start.
    """

    failures: int = 3
    within: float = 300.0
    delay: float = 1.0

    def __post_init__(self) -> None:
        _check_count("failures", self.failures)
        check_seconds("restart within", self.within, above=True)
        check_seconds("restart delay", self.delay)

    def wait_after(self, failures: Sequence[float]) -> float | None:
        """Wait as long as always, unless there were too many lately."""
        recent = sum(failures[-1] - failure < self.within for failure in failures)
        return self.delay if recent <= self.failures else None


_STRATEGIES: Mapping[str, Any] = {
    "none": NoRestart,
    "fixed_delay": FixedDelay,
    "exponential": Exponential,
    "failure_rate": FailureRate,
}


def read_restart(value: Mapping[str, Any] | str | RestartPolicy | None) -> RestartPolicy:
    """Return the policy that ``config={"restart": …}`` asks for.

    Args:
        value: a dict with "strategy" and the attributes of that strategy, the strategy's name for
            its defaults, a policy, or None for "none".

    Raises:
        ConfigError: there is no such strategy, or a value is wrong.
        UnknownKeyError: the strategy has no such attribute.
    """
    if isinstance(value, RestartPolicy) and not isinstance(value, type):
        return value
    if value is None:
        return NoRestart()
    given: Mapping[str, Any] | object = {"strategy": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise ConfigError(f"restart is {shorten(value)}; {_choose()}")
    if "strategy" not in given:
        raise ConfigError(f'restart has no "strategy"; {_choose()}')
    name = given["strategy"]
    if not isinstance(name, str) or name not in _STRATEGIES:
        raise ConfigError(f"restart strategy is {shorten(name)}; {_choose()}")
    values: dict[str, Any] = {key: each for key, each in given.items() if key != "strategy"}
    known = [each.name for each in dataclasses.fields(_STRATEGIES[name])]
    for key in values:
        if key not in known:
            raise UnknownKeyError(
                str(key), ["strategy", *known], where=f"restart strategy {name!r}"
            )
    policy: RestartPolicy = _STRATEGIES[name](**values)
    return policy


def _choose() -> str:
    return f"choose a strategy of {', '.join(map(repr, _STRATEGIES))}"


def _check_count(name: str, value: object) -> None:
    if value is None:
        raise ConfigError(f"restart {name} is None; give a whole number from 1")
    check_count(f"restart {name}", value)


def _check_number(
    name: str, value: object, expected: str, *, least: float, most: float = float("inf")
) -> None:
    # Written so that a NaN is wrong too.
    right = isinstance(value, (int, float)) and least <= value <= most and value < float("inf")
    if not right:
        raise ConfigError(f"restart {name} is {value!r}; give {expected}")
