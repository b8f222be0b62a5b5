"""Operators that turn records into records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from sage.dataflow.functions.base import Function


class MapFunction(Function, ABC):
    """One record in, one out; ``None`` emits nothing."""

    @abstractmethod
    def execute(self, data: Any) -> Any:
        """Return the record to emit, or None for nothing."""

    def flush(self) -> Any:
        """Return one last record when the input has ended, or None for nothing.

        An operator that buffers emits here what it still holds.
        """
        return None


class FlatMapFunction(Function, ABC):
    """One record in, any number out."""

    @abstractmethod
    def execute(self, data: Any) -> Iterable[Any] | None:
        """Return or yield the records to emit; None for nothing."""

    def flush(self) -> Iterable[Any] | None:
        """Return or yield the last records when the input has ended; None for nothing."""
        return None


class FilterFunction(Function, ABC):
    """Keeps the records for which ``execute`` is true."""

    @abstractmethod
    def execute(self, data: Any) -> bool:
        """Say whether the record stays."""


class KeyByFunction(Function, ABC):
    """Gives each record its key."""

    @abstractmethod
    def execute(self, data: Any) -> Any:
        """Return the record's key; see `sage.dataflow.keys` for what a key may be."""


class ProcessFunction(Function, ABC):
    """Any number of records out of records and timers, with state by key."""

    @abstractmethod
    def execute(self, data: Any) -> Iterable[Any] | None:
        """Return or yield the records to emit; None for nothing.

        ``self.context`` has the key, its state, and `RuntimeContext.timer`.
        """

    def on_timer(self, at: float) -> Iterable[Any] | None:  # noqa: ARG002 - a subclass uses it
        """Return or yield the records to emit when a timer of the key at hand has come.

        Args:
            at: the time that it was set for.
        """
        return None

    def flush(self) -> Iterable[Any] | None:
        """Return or yield the last records when the input has ended; None for nothing."""
        return None


class CoMapFunction(Function, ABC):
    """Maps two connected streams, each with its own method."""

    @abstractmethod
    def map1(self, data: Any) -> Any:
        """Return what a record of the first stream becomes, or None for nothing."""

    @abstractmethod
    def map2(self, data: Any) -> Any:
        """Return what a record of the second stream becomes, or None for nothing."""

    def flush(self) -> Any:
        """Return one last record when both inputs have ended, or None for nothing."""
        return None


class JoinFunction(Function, ABC):
    """Makes one record of two that share a key."""

    @abstractmethod
    def execute(self, left: Any, right: Any) -> Any:
        """Return the joined record, or None for nothing."""


# Those that hold nothing back.
EMPTY_FLUSHES = (
    MapFunction.flush,
    FlatMapFunction.flush,
    ProcessFunction.flush,
    CoMapFunction.flush,
)
