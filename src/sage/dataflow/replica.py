"""One replica of one operator: the user's object, opened, called, flushed and closed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.control import ControlItem, Controlled, ControlSource
from sage.dataflow.graph import Kind, Node
from sage.dataflow.guard import Guard, JobServices
from sage.dataflow.lifecycle import (
    Bound,
    Timed,
    Wrapper,
    close_target,
    is_operator,
    method_of,
    open_target,
)
from sage.dataflow.meter import Flow, Meter
from sage.errors import OperatorError

ENDED = "<end of input>"
OPENING = "<open>"
CLOSING = "<close>"
TIMER = "<timer>"
CONTROL = "<control item>"


class OperatorReplica:
    """Runs one replica of an operator.

    Args:
        node: the operator.
        target: the user's object or callable.
        index: this replica's number, from 0.
        services: of the job.

    Attributes:
        target: the same.
        flow: what goes on at its ends, when it is the first or last operator of its stage.
        event_loop: where an async operator runs; the stage that it belongs to sets it.
        is_object: whether it has an ``execute``, as against a plain callable or iterable.
    """

    def __init__(
        self, node: Node, target: Any, index: int, services: JobServices | None = None
    ) -> None:
        self.node = node
        self.meter = Meter()
        self.flow = Flow()
        self.context = RuntimeContext(node.name, index, node.parallelism)
        self.target = target
        self.is_object = is_operator(target)
        self.call: Callable[..., Any] = target.execute if self.is_object else target
        self.event_loop: asyncio.Runner | None = None
        self._opened = False
        self.guard: Guard | None = None
        services = services or JobServices()
        if isinstance(target, Bound):
            target.bind(services, self.meter)
        if node.options.handles_errors:
            self.guard = Guard(node, self.call, self.meter, services, self.shown)
            self.call = self.guard

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
        self._opened = True
        self._guarded(OPENING, open_target, self.target, self.context)

    def shown(self, record: Any) -> Any:
        """Return a record as the user knows it, for errors."""
        return self.target.shown(record) if isinstance(self.target, Wrapper) else record

    async def awaited(self, record: Any) -> Any:
        """Await the operator, which is a coroutine function, on a record."""
        if self.guard is not None:
            return await self.guard.awaited(record)
        return await self.call(record)

    def flush(self) -> list[Any]:
        """Call the user's ``flush``, if there is one, and return the records it emits.

        Raises:
            OperatorError: it raised.
        """
        method = method_of(self.target, "flush")
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
        if self._opened:
            self._opened = False
            self._guarded(CLOSING, close_target, self.target)

    def next_timer(self) -> float | None:
        """Return when the operator wants to be woken, in seconds of the runtime's clock."""
        return self.target.due if isinstance(self.target, Timed) else None

    def fire(self) -> list[Any]:
        """Wake the operator and return the records it emits.

        Raises:
            OperatorError: it raised.
        """
        assert isinstance(self.target, Timed)
        records: list[Any] = self._guarded(TIMER, self.target.wake)
        self.meter.records_out += len(records)
        return records

    def act(self, item: ControlItem) -> list[Any]:
        """Give the operator, which knows control items, one; return the records it emits.

        Raises:
            OperatorError: it raised.
        """
        assert isinstance(self.target, Controlled)
        records: list[Any] = self._guarded(CONTROL, self.target.act, item)
        self.meter.records_out += len(records)
        return records

    def originated(self) -> ControlItem | None:
        """Return a control item that the operator sends now, or None."""
        assert isinstance(self.target, ControlSource)
        return self.target.originated()

    def absorbs(self, item: ControlItem) -> bool:
        """Say whether a control item ends at the operator."""
        return isinstance(self.target, ControlSource) and self.target.absorbs(item)

    def _flushed(self, method: Callable[[], Any]) -> list[Any]:
        value = method()
        if value is None or self.kind in (Kind.SINK, Kind.FILTER):
            return []
        return list(_iterable(value)) if self.kind is Kind.FLATMAP else [value]

    def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self.event_loop is None:
            coroutine.close()
            raise TypeError(
                "its open, flush or close is async, but its execute is not: only an operator with "
                "`async def execute` has an event loop"
            )
        return self.event_loop.run(coroutine)

    def _guarded(self, record: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            value = function(*arguments)
            return self._awaited(value) if inspect.iscoroutine(value) else value
        except Exception as error:
            self.meter.failed += record == ENDED
            raise OperatorError(self.name, record, error) from error


def _iterable(value: Any) -> Iterable[Any]:
    return value  # type: ignore[no-any-return]  # list() of it says what is wrong
