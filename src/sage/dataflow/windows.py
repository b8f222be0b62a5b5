"""Which windows a record belongs to, and what comes out of one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sage.errors import ConfigError


class Window(NamedTuple):
    """From ``start`` up to, and without, ``end``."""

    start: float
    end: float


class WindowResult(NamedTuple):
    """What a window makes of its records.

    Attributes:
        key: of its records.
        start: of the window, in the timestamps' unit; seconds since the epoch in processing time.
        end: of the window, which is not in it any more.
        value: what was made of the records.
        revision: 0 for the first result of a window; each late record that is still allowed brings
            another one, numbered on, that takes the place of those before.
    """

    key: Any
    start: float
    end: float
    value: Any
    revision: int = 0

    @property
    def timestamp(self) -> float:
        """The last moment in the window: the result's time for windows that come after."""
        return math.nextafter(self.end, -math.inf)


class Windows(ABC):
    """How time is divided."""

    merging = False

    @abstractmethod
    def assign(self, timestamp: float) -> Sequence[Window]:
        """Return the windows that a moment belongs to, earliest first."""


def _grid(timestamp: float, step: float, offset: float) -> int:
    """Return the last n with ``n * step + offset <= timestamp``, whatever division rounds to."""
    number = math.floor((timestamp - offset) / step)
    while number * step + offset > timestamp:
        number -= 1
    while (number + 1) * step + offset <= timestamp:
        number += 1
    return number


@dataclass(frozen=True, slots=True)
class TumblingWindows(Windows):
    """One window after the other.

    Attributes:
        size: of a window, in the timestamps' unit.
        offset: where a window begins, counted from 0.
    """

    size: float
    offset: float = 0

    def __post_init__(self) -> None:
        _check_size("size", self.size)
        _check_offset(self.offset)

    def assign(self, timestamp: float) -> Sequence[Window]:
        """Return the window that a moment belongs to."""
        number = _grid(timestamp, self.size, self.offset)
        # Both ends come from the same product, so that neighbours share theirs exactly.
        return (Window(number * self.size + self.offset, (number + 1) * self.size + self.offset),)


@dataclass(frozen=True, slots=True)
class SlidingWindows(Windows):
    """A window of ``size`` every ``slide``; a record belongs to all that cover it.

    Attributes:
        size: of a window, in the timestamps' unit.
        slide: from one window's beginning to the next one's.
        offset: where a window begins, counted from 0.
    """

    size: float
    slide: float
    offset: float = 0

    def __post_init__(self) -> None:
        _check_size("size", self.size)
        _check_size("slide", self.slide)
        _check_offset(self.offset)
        if self.slide > self.size:
            raise ConfigError(
                f"slide is {self.slide!r} and size {self.size!r}: records between two windows "
                "would belong to none; give a slide up to the size"
            )

    def assign(self, timestamp: float) -> Sequence[Window]:
        """Return the windows that cover a moment."""
        number = _grid(timestamp, self.slide, self.offset)
        windows = []
        while (start := number * self.slide + self.offset) + self.size > timestamp:
            windows.append(Window(start, start + self.size))
            number -= 1
        return windows[::-1]


@dataclass(frozen=True, slots=True)
class SessionWindows(Windows):
    """Records of a key less than ``gap`` apart; the window ends ``gap`` after the last one.

    Attributes:
        gap: in the timestamps' unit.
    """

    gap: float
    merging = True

    def __post_init__(self) -> None:
        _check_size("gap", self.gap)

    def assign(self, timestamp: float) -> Sequence[Window]:
        """Return the session of one record alone."""
        return (Window(timestamp, timestamp + self.gap),)


def overlapping(window: Window, others: Iterable[Window]) -> list[Window]:
    """Return those of the others that share a moment with a window, earliest first."""
    return sorted(
        other for other in others if other.start < window.end and window.start < other.end
    )


def _check_size(name: str, value: float) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value!r}; give a number above 0, in the timestamps' unit")


def _check_offset(value: float) -> None:
    if not _is_number(value) or not math.isfinite(value):
        raise ConfigError(f"offset is {value!r}; give a number, in the timestamps' unit")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
