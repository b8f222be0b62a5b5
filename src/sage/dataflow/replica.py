"""One replica of one operator: the user's object, opened, called, flushed and closed."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sage.dataflow.checkpoint.operator_state import (
    NONE_IN_FLIGHT,
    InFlightRecords,
    OperatorState,
    share,
)
from sage.dataflow.context import RuntimeContext
from sage.dataflow.control import ControlItem, Controlled, ControlSource
from sage.dataflow.functions.transform import EMPTY_FLUSHES
from sage.dataflow.graph import Kind, Node
from sage.dataflow.guard import BlamedError, Guard, JobServices, ResultGuard
from sage.dataflow.lifecycle import (
    Bound,
    Checkpointed,
    Gathering,
    Timed,
    Wrapper,
    close_target,
    is_operator,
    method_of,
    open_target,
    users_own,
)
from sage.dataflow.meter import Meter, Traffic
from sage.dataflow.needs import Resources
from sage.dataflow.timeouts import limited
from sage.errors import CheckpointError, OperatorError

ENDED = "<end of input>"
OPENING = "<open>"
CLOSING = "<close>"
TIMER = "<timer>"
CONTROL = "<control item>"
CHECKPOINT = "<checkpoint>"


class OperatorReplica:
    """Runs one replica of an operator.

    Args:
        node: the operator.
        target: the user's object or callable.
        index: this replica's number, from 0.
        services: of the job.
        resources: what it has of the machine.

    Attributes:
        target: the same.
        traffic: what goes on at its ends, when it is the first or last operator of its stage.
        event_loop: where an async operator runs; the stage that it belongs to sets it.
        is_object: whether it has an ``execute``, as against a plain callable or iterable.
    """

    def __init__(
        self,
        node: Node,
        target: Any,
        index: int,
        services: JobServices | None = None,
        resources: Resources | None = None,
    ) -> None:
        self.node = node
        self.meter = Meter()
        self.traffic = Traffic()
        self.target = target
        self.is_object = is_operator(target)
        self.call: Callable[..., Any] = target.execute if self.is_object else target
        self.call = limited(node, self.call)
        self.event_loop: asyncio.Runner | None = None
        self._opened = False
        self.guard: Guard | None = None
        services = services or JobServices()
        self.context = RuntimeContext(
            node.name,
            index,
            node.parallelism,
            services=services.registered,
            resources=resources or Resources(),
        )
        if isinstance(target, Bound):
            target.bind(services, self.meter)
        if isinstance(target, Gathering):
            shown = target.shown_result
            target.guard_results(lambda call: ResultGuard(node, call, self.meter, services, shown))
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

    @property
    def holds_back(self) -> bool:
        """Whether a checkpoint asks it for state of its own, or has it emit what it holds."""
        user = users_own(self.target)
        flush = method_of(user, "flush")
        empty = getattr(flush, "__func__", None) in EMPTY_FLUSHES
        return method_of(user, "snapshot") is not None or not (flush is None or empty)

    def settle(self) -> list[Any]:
        """Return the records that the operator holds and cannot save, before a checkpoint.

        Raises:
            OperatorError: it raised.
        """
        user = users_own(self.target)
        if method_of(user, "snapshot") is not None:
            return []
        if self.target is user:
            return [] if isinstance(user, Checkpointed) else self.flush()
        records: list[Any] = self._guarded(CHECKPOINT, self.target.settle)
        self.meter.records_out += len(records)
        return records

    async def settled(self) -> list[Any]:
        """Do the same on the event loop of an operator that is a coroutine function."""
        flush = method_of(self.target, "flush")
        if flush is None or method_of(self.target, "snapshot") is not None:
            return []
        try:
            value = flush()
            records = self._emitted(await value if inspect.iscoroutine(value) else value)
        except Exception as error:
            raise OperatorError(self.name, CHECKPOINT, error) from error
        self.meter.records_out += len(records)
        return records

    def state(
        self, *, offset: Any = None, in_flight: InFlightRecords = NONE_IN_FLIGHT
    ) -> OperatorState:
        """Return what a checkpoint keeps, nothing being held back any more.

        Args:
            offset: of a source: where its next record begins.
            in_flight: of an async operator: what it works on.

        Raises:
            OperatorError: its ``snapshot`` raised.
        """
        snapshot = method_of(users_own(self.target), "snapshot")
        own = self.target.saved() if isinstance(self.target, Checkpointed) else None
        meter = replace(
            self.meter,
            records_in=self.meter.records_in - in_flight.begun,
            latency=self.meter.latency.copy(),
        )
        return OperatorState(
            meter=meter,
            metrics=self.context.metrics.values(),
            keyed=self.context.state.tables(),
            timers=self.context.timers.saved(),
            own=own,
            users=() if snapshot is None else (self._guarded(CHECKPOINT, snapshot),),
            offset=offset,
            in_flight=in_flight.items,
        )

    def counts(self) -> OperatorState:
        """Return what a checkpoint keeps when the input has ended."""
        return OperatorState(self.meter, self.context.metrics.values())

    def restore(self, saved: Sequence[bytes]) -> OperatorState:
        """Take over this replica's share of what a checkpoint kept; after ``open``.

        Args:
            saved: pickled state of all the replicas that there were.

        Returns:
            the share.

        Raises:
            CheckpointError: there were more or fewer replicas, and its own state cannot be divided.
            OperatorError: its ``restore`` raised.
        """
        state = self._share(saved)
        self._take_counts(state)
        self.context.state.restore(state.keyed)
        self.context.timers.restore(state.timers)
        if state.users:
            restore = method_of(users_own(self.target), "restore")
            if restore is None:
                raise CheckpointError(
                    f"operator {self.name!r} has state in the checkpoint, and no restore() that "
                    "takes it; define it beside snapshot()"
                )
            self._guarded(CHECKPOINT, restore, state.users[0])
        if isinstance(self.target, Checkpointed):
            self._guarded(CHECKPOINT, self.target.restore_saved, state.own)
        return state

    def take_counts(self, saved: Sequence[bytes]) -> None:
        """Go on counting where a checkpoint was, the input having ended before it."""
        self._take_counts(self._common_share(saved)[0])

    def _take_counts(self, state: OperatorState) -> None:
        self.meter.take(state.meter)
        self.context.metrics.replace(dict(state.metrics))

    def _share(self, saved: Sequence[bytes]) -> OperatorState:
        index, count = self.context.index, self.context.parallelism
        state, states = self._common_share(saved)
        if not states:
            return state
        if isinstance(self.target, Checkpointed):
            own = self.target.divided([each.own for each in states], count)
            state = replace(state, own=own[index])
        if any(each.users for each in states):
            users = [each.users[0] for each in states if each.users]
            state = replace(state, users=(self._redistributed(users, "state", count)[index],))
        if self.kind is Kind.SOURCE:
            offsets = [each.offset for each in states]
            state = replace(state, offset=self._redistributed(offsets, "place", count)[index])
        return state

    def _common_share(self, saved: Sequence[bytes]) -> tuple[OperatorState, list[OperatorState]]:
        """Return this replica's share, and, where the parallelism has changed, all there were."""
        index, count = self.context.index, self.context.parallelism
        if len(saved) == count:
            return pickle.loads(saved[index]), []  # noqa: S301 - of our own checkpoint
        states = [pickle.loads(each) for each in saved]  # noqa: S301 - as above
        return share(states, index, count), states

    def _redistributed(self, states: list[Any], what: str, count: int) -> Sequence[Any]:
        redistribute = method_of(users_own(self.target), "redistribute")
        if redistribute is None:
            raise CheckpointError(
                f"operator {self.name!r} had parallelism {len(states)} when the checkpoint was "
                f"taken and has {count} now, and its {what} cannot be divided; set it back, or "
                "define redistribute(states, parallelism) in it"
            )
        divided: Sequence[Any] = self._guarded(CHECKPOINT, redistribute, states, count)
        return divided

    def _flushed(self, method: Callable[[], Any]) -> list[Any]:
        value = method()
        return self._emitted(self._awaited(value) if inspect.iscoroutine(value) else value)

    def _emitted(self, value: Any) -> list[Any]:
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
        except BlamedError as blamed:
            self.meter.failed += 1
            raise OperatorError(self.name, blamed.record, blamed.cause) from blamed.cause
        except Exception as error:
            self.meter.failed += record == ENDED
            raise OperatorError(self.name, record, error) from error


def _iterable(value: Any) -> Iterable[Any]:
    return value  # type: ignore[no-any-return]  # list() of it says what is wrong
