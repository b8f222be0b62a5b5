"""An operator's ``timeout``: each call ends in time, or is ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Kind, Node
from sage.dataflow.workers import Workers
from sage.errors import GraphError, OperatorTimeoutError


class _Expired(BaseException):
    """The time is over; no ``except Exception`` of the user's catches it."""


def limited(node: Node, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return an operator's call with its timeout, if it has one."""
    timeout = node.options.timeout
    if timeout is None:
        return call
    if node.is_async:
        return _awaited(node.name, call, timeout)
    return _Interrupted(node, call, timeout)


def check_timeout(kind: Kind, blueprint: Blueprint, workers: Workers) -> None:
    """Raise `GraphError` unless calls of an operator can be ended.

    Args:
        kind: what it does.
        blueprint: how it is made.
        workers: where its replicas live.
    """
    if kind in (Kind.SOURCE, Kind.KEYBY):
        raise GraphError(f"a {kind.value} cannot have a timeout")
    label = blueprint.label or kind.value
    if blueprint.wrap is not None:
        raise GraphError(
            f"{label!r} cannot have a timeout: a call that is ended half way would leave what it "
            "gathers half done; put what may take long in a map() of its own"
        )
    if not blueprint.is_async and workers is not Workers.PROCESS:
        raise GraphError(
            f"timeout cannot end a plain function in a thread: make {label!r} async def, or give "
            "it workers='process'"
        )


def _awaited(
    operator: str, call: Callable[[Any], Coroutine[Any, Any, Any]], timeout: float
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    async def within(record: Any) -> Any:
        try:
            async with asyncio.timeout(timeout) as scope:
                return await call(record)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise OperatorTimeoutError(operator, timeout) from error

    return within


class _Interrupted:
    """Interrupts a call in a process's main thread, by SIGALRM.

    Args:
        node: the operator.
        call: runs it.
        timeout: seconds.
    """

    def __init__(self, node: Node, call: Callable[[Any], Any], timeout: float) -> None:
        self._node = node
        self._call = call
        self._timeout = timeout
        self._running = False

    def __call__(self, record: Any) -> Any:
        """Return what the operator does.

        Raises:
            OperatorTimeoutError: it took too long.
        """
        signal.signal(signal.SIGALRM, self._expire)
        try:
            self._running = True
            signal.setitimer(signal.ITIMER_REAL, self._timeout)
            result = self._call(record)
            # A generator's work is done while it is read.
            lazy = self._node.kind is Kind.FLATMAP and result is not None
            return list(result) if lazy else result
        except _Expired:
            raise OperatorTimeoutError(self._node.name, self._timeout) from None
        finally:
            self._running = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self, _number: int, _frame: FrameType | None) -> None:
        if self._running:
            raise _Expired
