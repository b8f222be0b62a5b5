"""One replica of one operator: the user's object, opened, called, flushed and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sage.dataflow.blueprint import accepts_context
from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.base import Function
from sage.dataflow.graph import Kind, Node
from sage.dataflow.meter import Meter
from sage.errors import OperatorError

ENDED = "<end of input>"
OPENING = "<open>"
CLOSING = "<close>"


class OperatorReplica:
    """Runs one replica of an operator.

    Args:
        node: the operator.
        target: the user's object or callable.
        index: this replica's number, from 0.

    Attributes:
        target: the same.
        is_object: whether it has an ``execute``, as against a plain callable or iterable.
    """

    def __init__(self, node: Node, target: Any, index: int) -> None:
        self.node = node
        self.meter = Meter()
        self.context = RuntimeContext(node.name, index, node.parallelism)
        self.target = target
        self.is_object = callable(getattr(target, "execute", None))
        self.call: Callable[..., Any] = target.execute if self.is_object else target
        self._opened = False

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.node.name

    @property
    def kind(self) -> Kind:
        """What the operator does."""
        return self.node.kind

    def open(self) -> None:
        """Call the user's ``open``, if there is one.

        Raises:
            OperatorError: it raised.
        """
        if isinstance(self.target, Function):
            self.target.context = self.context
        self._opened = True
        method = self._method("open")
        if method is not None:
            arguments = (self.context,) if accepts_context(method) else ()
            self._guarded(OPENING, method, *arguments)

    def flush(self) -> list[Any]:
        """Call the user's ``flush``, if there is one, and return the records it emits.

        Raises:
            OperatorError: it raised.
        """
        method = self._method("flush")
        if method is None:
            return []
        records: list[Any] = self._guarded(ENDED, self._flushed, method)
        self.meter.records_out += len(records)
        return records

    def close(self) -> None:
        """Call the user's ``close``, once, if ``open`` was called.

        Raises:
            OperatorError: it raised.
        """
        method = self._method("close")
        if self._opened and method is not None:
            self._opened = False
            self._guarded(CLOSING, method)

    def _flushed(self, method: Callable[[], Any]) -> list[Any]:
        value = method()
        if value is None or self.kind in (Kind.SINK, Kind.FILTER):
            return []
        return list(_iterable(value)) if self.kind is Kind.FLATMAP else [value]

    def _method(self, name: str) -> Callable[..., Any] | None:
        # A plain callable may well be a file object's method; only operators have a life cycle.
        method = getattr(self.target, name, None) if self.is_object else None
        return method if callable(method) else None

    def _guarded(self, record: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            self.meter.failed += record == ENDED
            raise OperatorError(self.name, record, error) from error


def _iterable(value: Any) -> Iterable[Any]:
    return value  # type: ignore[no-any-return]  # list() of it says what is wrong
