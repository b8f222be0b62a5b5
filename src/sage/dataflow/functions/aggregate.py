"""What is kept of a window's records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sage.dataflow.functions.base import Function


class AggregateFunction(Function, ABC):
    """Gathers records one by one in an accumulator of its own making."""

    @abstractmethod
    def create(self) -> Any:
        """Return the accumulator of no records."""

    @abstractmethod
    def add(self, accumulator: Any, data: Any) -> Any:
        """Return the accumulator with one record more; it may be the same object, changed."""

    def result(self, accumulator: Any) -> Any:
        """Return the window's value, or None to emit nothing. The accumulator stays as it is."""
        return accumulator

    def merge(self, accumulator: Any, other: Any) -> Any:  # noqa: ARG002 - a subclass uses them
        """Return the accumulator of both; session windows need it, other windows do not.

        Args:
            accumulator: of the earlier window.
            other: of the later window.

        Raises:
            TypeError: the subclass does not define it.
        """
        raise TypeError(f"{type(self).__name__} does not define merge(), which sessions need")
