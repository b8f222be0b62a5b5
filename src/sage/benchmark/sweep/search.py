"""Which value a sweep tries next: pure state, told what each try gave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the target is lost: between two values that were tried.

    Attributes:
        value: the highest that kept the target, as all tried below it did; None when the lowest
            did not.
        beyond: the lowest tried above it, which lost the target; None when none lost it, so that
            the knee is at ``value`` or higher.
    """

    value: float | None
    beyond: float | None


def knee_of(kept: Mapping[float, bool]) -> Knee:
    """Return the knee among values of which each kept the target or lost it."""
    value = None
    for tried in sorted(kept):
        if not kept[tried]:
            return Knee(value, tried)
        value = tried
    return Knee(value, None)


class Search(Protocol):
    """What says which value is next."""

    def next(self) -> float | None:
        """Return the value to try, the same until it is told; None at the end."""

    def tell(self, value: float, kept: bool) -> None:
        """Take what the value last asked for gave."""

    def left(self) -> int:
        """Return about how many tries are left."""


class GivenValues:
    """Tries each of some values once, in their order."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = list(values)
        self._told = 0

    def next(self) -> float | None:
        """Return the value to try, the same until it is told; None at the end."""
        return self._values[self._told] if self._told < len(self._values) else None

    def tell(self, value: float, kept: bool) -> None:  # noqa: ARG002 - a `Search`'s form
        """Take what the value last asked for gave."""
        assert value == self.next()
        self._told += 1

    def left(self) -> int:
        """Return how many tries are left."""
        return len(self._values) - self._told


class KneeSearch:
    """Brackets the knee by doubling or halving, then bisects by the geometric mean.

    More load is taken to keep the target no better; where measurements waver about the target,
    the search ends at one of the places where they cross it.

    Args:
        start: first value to try.
        resolution: ends when the bracket's ends are nearer than this share of the lower one;
            at least 0.001.
        whole: whether values are whole numbers; then the lowest is 1.
        widest: how far from ``start`` is looked, as a factor either way.

    Raises:
        ConfigError: a value that no search can have.
    """

    def __init__(
        self,
        start: float,
        *,
        resolution: float = 0.02,
        whole: bool = False,
        widest: float = 4096.0,
    ) -> None:
        if not (math.isfinite(start) and start > 0):
            raise ConfigError(f"the search's start is {start}; it must be a positive number")
        if not 0.001 <= resolution < 1:
            raise ConfigError(f"resolution is {resolution}; it must be at least 0.001 and below 1")
        self._whole = whole
        self._resolution = resolution
        self._lowest = self._rounded(start / widest)
        self._highest = start * widest
        self._kept: float | None = None
        self._lost: float | None = None
        self._next: float | None = self._rounded(start)

    @property
    def knee(self) -> Knee:
        """What is known so far."""
        return Knee(self._kept, self._lost)

    def next(self) -> float | None:
        """Return the value to try, the same until it is told; None at the end."""
        return self._next

    def tell(self, value: float, kept: bool) -> None:
        """Take what the value last asked for gave."""
        assert value == self._next
        if kept:
            self._kept = value
        else:
            self._lost = value
        self._next = self._following()

    def left(self) -> int:
        """Return about how many tries are left."""
        if self._next is None:
            return 0
        if self._kept is None or self._lost is None:
            return 2 + self._bisections(2.0)
        return self._bisections(self._lost / self._kept)

    def _bisections(self, span: float) -> int:
        return max(1, math.ceil(math.log2(math.log(span) / math.log1p(self._resolution))))

    def _following(self) -> float | None:
        if self._lost is None:
            assert self._kept is not None
            return None if self._kept >= self._highest else min(2 * self._kept, self._highest)
        if self._kept is None:
            low = self._lowest
            return None if self._lost <= low else self._rounded(max(self._lost / 2, low))
        if self._lost <= self._kept * (1 + self._resolution):
            return None
        middle = self._rounded(math.sqrt(self._kept * self._lost))
        return middle if self._kept < middle < self._lost else self._between()

    def _between(self) -> float | None:
        """The whole number between two that are further apart than rounding shows, if any."""
        assert self._kept is not None
        assert self._lost is not None
        middle = (self._kept + self._lost) // 2
        return middle if self._whole and self._kept < middle < self._lost else None

    def _rounded(self, value: float) -> float:
        if self._whole:
            return float(max(1, round(value)))
        # Short enough to be read and typed again, and finer than any resolution.
        return float(f"{value:.5g}")
