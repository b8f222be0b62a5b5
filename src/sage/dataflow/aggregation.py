"""The ways to make one value of a window's records, and pairs of a windowed join's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sage.dataflow.connected import FIRST
from sage.dataflow.functions.aggregate import AggregateFunction


class Aggregation(Protocol):
    """How a window's records are kept, and what they come to."""

    def first(self, record: Any) -> Any:
        """Return what is kept of a window's first record."""

    def add(self, kept: Any, record: Any) -> Any:
        """Return what is kept with one record more."""

    def merge(self, kept: Any, other: Any) -> Any:
        """Return what is kept of two windows that become one, the earlier first."""

    def values(self, kept: Any) -> Iterable[Any]:
        """Return the values to emit."""


class ReduceAggregation:
    """Combines records two at a time.

    Args:
        call: the user's function.
    """

    def __init__(self, call: Callable[[Any, Any], Any]) -> None:
        self.add = self.merge = call

    def first(self, record: Any) -> Any:
        """Keep the record."""
        return record

    def values(self, kept: Any) -> Sequence[Any]:
        """Return what was combined."""
        return (kept,)


class AccumulatorAggregation:
    """Gathers records in an accumulator.

    Args:
        function: the user's.
    """

    def __init__(self, function: AggregateFunction) -> None:
        self._function = function
        self.add = function.add
        self.merge = function.merge

    def first(self, record: Any) -> Any:
        """Return a new accumulator with one record."""
        return self.add(self._function.create(), record)

    def values(self, kept: Any) -> Sequence[Any]:
        """Return the result, unless it is None."""
        return _unless_none(self._function.result(kept))


class ListAggregation:
    """Keeps the records, in the order in which they came.

    Args:
        call: makes the window's value of the list.
    """

    def __init__(self, call: Callable[[list[Any]], Any]) -> None:
        self._call = call

    def first(self, record: Any) -> list[Any]:
        """Begin a list."""
        return [record]

    def add(self, kept: list[Any], record: Any) -> list[Any]:
        """Append to the list."""
        kept.append(record)
        return kept

    def merge(self, kept: list[Any], other: list[Any]) -> list[Any]:
        """Append the later window's list."""
        return kept + other

    def values(self, kept: list[Any]) -> Sequence[Any]:
        """Return what the function makes of a copy of the list, unless it is None."""
        return _unless_none(self._call(list(kept)))


class JoinAggregation:
    """Keeps the records of two streams and pairs each with each.

    Args:
        call: makes a value of a pair.
    """

    def __init__(self, call: Callable[[Any, Any], Any]) -> None:
        self._call = call

    def first(self, record: tuple[int, Any]) -> tuple[list[Any], list[Any]]:
        """Begin both lists."""
        return self.add(([], []), record)

    def add(
        self, kept: tuple[list[Any], list[Any]], record: tuple[int, Any]
    ) -> tuple[list[Any], list[Any]]:
        """Append to the list of the record's stream."""
        side, data = record
        kept[side].append(data)
        return kept

    def merge(
        self, kept: tuple[list[Any], list[Any]], other: tuple[list[Any], list[Any]]
    ) -> tuple[list[Any], list[Any]]:
        """Append the later window's lists."""
        return kept[0] + other[0], kept[1] + other[1]

    def values(self, kept: tuple[list[Any], list[Any]]) -> Iterable[Any]:
        """Return what the function makes of each pair, unless it is None."""
        first, second = kept[FIRST], kept[1 - FIRST]
        joined = [self._call(left, right) for left in first for right in second]
        return [value for value in joined if value is not None]


def _unless_none(value: Any) -> Sequence[Any]:
    return () if value is None else (value,)
