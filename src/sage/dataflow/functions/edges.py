"""Operators at the ends of a pipeline: sources and sinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sage.dataflow.functions.base import Function


class SourceFunction(Function, ABC):
    """An unbounded source."""

    @abstractmethod
    def execute(self) -> Any:
        """Return the next record, or None when there is nothing now.

        Raises:
            StopIteration: there will be no more.
        """


class BatchFunction(Function, ABC):
    """A bounded source."""

    @abstractmethod
    def execute(self) -> Any:
        """Return the next record, or None when there are no more."""


class SinkFunction(Function, ABC):
    """The end of a stream."""

    @abstractmethod
    def execute(self, data: Any) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Write out what is still held; called when the input has ended."""
