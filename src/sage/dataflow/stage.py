"""One replica of a stage: its operators' life cycle and the loop that takes records through."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sage.dataflow.asynchronous import work
from sage.dataflow.checkpoint.operator_state import (
    NONE_IN_FLIGHT,
    InFlightRecords,
    OperatorState,
)
from sage.dataflow.control import ControlItem, Controlled, ControlSource
from sage.dataflow.graph import Kind
from sage.dataflow.lifecycle import Timed
from sage.dataflow.loop import RecordFailedError, RecordLoop
from sage.dataflow.plan import Stage
from sage.dataflow.replica import CHECKPOINT, OperatorReplica
from sage.dataflow.source import SourceReader
from sage.errors import OperatorError

# By operator: the state of one replica, pickled; that of all replicas.
States: TypeAlias = dict[str, bytes]
SavedStates: TypeAlias = Mapping[str, Sequence[bytes]]


class StageReplica:
    """Runs a stage's operators over batches; knows nothing of where records come from or go to.

    Args:
        stage: what the plan says.
        operators: this replica's operators, first to last.
        profile: measure every batch operator by operator.
        dump: pickles the operators' states.

    Attributes:
        is_async: whether its first operator is a coroutine function.
        sends_control: whether `originated` may return something.
    """

    def __init__(
        self,
        stage: Stage,
        operators: Sequence[OperatorReplica],
        *,
        profile: bool = False,
        dump: Callable[[Any], bytes] = pickle.dumps,
    ) -> None:
        self.stage = stage
        self.operators = operators
        self.is_async = operators[0].node.is_async
        self._profile = profile
        self._dump = dump
        self._timed = [op for op in operators if isinstance(op.target, Timed)]
        has_source = operators[0].kind is Kind.SOURCE
        self.source = SourceReader(operators[0]) if has_source else None
        self._loops: dict[int, RecordLoop | None] = {}
        self._loop = self._loop_from(1 if has_source or self.is_async else 0)
        self._control_sources = [
            position
            for position, operator in enumerate(operators)
            if isinstance(operator.target, ControlSource)
        ]
        self.sends_control = bool(self._control_sources)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop of a stage whose first operator is async."""
        event_loop = self.operators[0].event_loop
        assert event_loop is not None
        return event_loop.run(coroutine)

    def open(self) -> None:
        """Open every operator.

        Raises:
            OperatorError: one of them raised.
        """
        if self.is_async:
            self.operators[0].event_loop = asyncio.Runner()
        for operator in self.operators:
            operator.open()

    @property
    def index(self) -> int:
        """The replica's number, from 0."""
        return self.operators[0].context.index

    def after_head(self, records: list[Any]) -> list[Any]:
        """Take what the first operator emitted through the others.

        Raises:
            RecordFailedError: an operator raised.
        """
        return self._loop.process(records) if self._loop and records else records

    def process(self, records: Sequence[Any]) -> list[Any]:
        """Take a batch through the operators and return what the last one emits.

        Raises:
            RecordFailedError: an operator raised.
        """
        if self.is_async:
            return self._process_async(records)
        return self._loop.process(records) if self._loop else list(records)

    def _process_async(self, records: Sequence[Any]) -> list[Any]:
        try:
            emitted: list[Any] = self.run(work(self.operators[0], records))
        except RecordFailedError as failure:
            failure.done = self.after_head(failure.done)
            raise
        return self.after_head(emitted)

    def finish(self) -> list[Any]:
        """Flush the operators, first to last, and return what leaves the stage thereby.

        Raises:
            OperatorError: an operator raised.
        """
        emitted: list[Any] = []
        for position, operator in enumerate(self.operators):
            emitted += self._after(position, operator.flush())
        return emitted

    @property
    def has_timers(self) -> bool:
        """Whether an operator may want to be woken."""
        return bool(self._timed)

    def next_timer(self) -> float | None:
        """Return when the next operator wants to be woken, in seconds of the runtime's clock."""
        if not self._timed:
            return None
        timers = (op.next_timer() for op in self._timed)
        return min((due for due in timers if due is not None), default=None)

    def fire(self, now: float) -> list[Any]:
        """Wake the operators whose time has come and return what leaves the stage thereby.

        Raises:
            OperatorError: an operator raised.
        """
        emitted: list[Any] = []
        for position, operator in enumerate(self.operators):
            due = operator.next_timer()
            if due is not None and due <= now:
                emitted += self._after(position, operator.fire())
        return emitted

    def act(self, item: ControlItem) -> list[Any]:
        """Take a control item through the operators; return what leaves the stage before it.

        Raises:
            OperatorError: an operator raised.
        """
        return self._act(0, item) if item.concerns(self.stage.id) else []

    def forwards(self, item: ControlItem) -> bool:
        """Say whether a control item that came in leaves the stage."""
        return item.concerns(self.stage.id) and self._absorber(0, item) is None

    def originated(self) -> tuple[list[Any], list[ControlItem]]:
        """Return the records that operators emit on the stage's own control items, and these.

        Raises:
            OperatorError: an operator raised.
        """
        emitted: list[Any] = []
        items: list[ControlItem] = []
        for position in self._control_sources:
            item = self.operators[position].originated()
            if item is not None:
                emitted += self._act(position + 1, item)
                if self._absorber(position + 1, item) is None:
                    items.append(item)
        return emitted, items

    def _act(self, position: int, item: ControlItem) -> list[Any]:
        emitted: list[Any] = []
        end = self._absorber(position, item)
        for number in range(position, len(self.operators) if end is None else end):
            if isinstance(self.operators[number].target, Controlled):
                emitted += self._after(number, self.operators[number].act(item))
        return emitted

    def _absorber(self, position: int, item: ControlItem) -> int | None:
        """Return the first operator from ``position`` on at which an item ends."""
        return next(
            (
                number
                for number in self._control_sources
                if number >= position and self.operators[number].absorbs(item)
            ),
            None,
        )

    def checkpoint(
        self, in_flight: InFlightRecords = NONE_IN_FLIGHT, *, settled: bool = False
    ) -> tuple[list[Any], States]:
        """Save the operators' state, first to last.

        Args:
            in_flight: what the first operator, when it is async, works on.
            settled: whether the first operator has emitted what it holds.

        Returns:
            the records that leave the stage before the barrier, and each operator's state.

        Raises:
            OperatorError: an operator raised, or its state cannot be pickled.
        """
        emitted: list[Any] = []
        states: dict[str, bytes] = {}
        for position, operator in enumerate(self.operators):
            if position > 0 or not settled:
                emitted += self._after(position, operator.settle())
            first = position == 0
            offset = self.source.offset() if first and self.source else None
            state = operator.state(offset=offset, in_flight=in_flight if first else NONE_IN_FLIGHT)
            states[operator.name] = self._pickled(operator, state)
        return emitted, states

    def with_in_flight(self, states: States, records: Sequence[Any]) -> States:
        """Return saved states with more records that the first operator is to begin with."""
        head = self.operators[0]
        state: OperatorState = pickle.loads(states[head.name])  # noqa: S301 - made by `checkpoint`
        state = replace(state, in_flight=(*state.in_flight, *records))
        return {**states, head.name: self._pickled(head, state)}

    def ended(self) -> States:
        """Return what a checkpoint keeps of operators whose input has ended."""
        return {op.name: self._pickled(op, op.counts()) for op in self.operators}

    def restore(self, saved: SavedStates) -> list[Any]:
        """Take over what a checkpoint kept; after ``open``.

        Args:
            saved: each operator's state, of all the replicas that there were.

        Returns:
            what the first operator, when it is async, was working on.

        Raises:
            CheckpointError: the state does not fit the operators.
            OperatorError: an operator raised.
        """
        in_flight: list[Any] = []
        for operator in self.operators:
            share = operator.restore(saved[operator.name])
            in_flight += share.in_flight
            if self.source is not None and operator is self.operators[0]:
                self.source.seek(share.offset)
        return in_flight

    def take_counts(self, saved: SavedStates) -> None:
        """Go on counting where a checkpoint was, the input having ended before it."""
        for operator in self.operators:
            operator.take_counts(saved[operator.name])

    def close(self) -> None:
        """Close every operator that was opened, last to first.

        Raises:
            OperatorError: one of them raised; the others are closed all the same.
        """
        failure: OperatorError | None = None
        for operator in reversed(self.operators):
            try:
                operator.close()
            except OperatorError as error:
                failure = failure or error
        event_loop = self.operators[0].event_loop
        if event_loop is not None:
            event_loop.close()
        if failure is not None:
            raise failure

    @property
    def pid(self) -> int | None:
        """Id of the process of its own in which it runs; here, it has none."""
        return None

    def kill(self) -> None:
        """End what runs in a process of its own, at once; here, nothing does."""

    def _after(self, position: int, records: list[Any]) -> list[Any]:
        """Take what one operator emitted by itself through those after it."""
        loop = self._loop_from(position + 1) if records else None
        return loop.process(records) if loop else records

    def _loop_from(self, position: int) -> RecordLoop | None:
        if position not in self._loops:
            operators = self.operators[position:]
            self._loops[position] = (
                RecordLoop(operators, measure_all=self._profile) if operators else None
            )
        return self._loops[position]

    def _pickled(self, operator: OperatorReplica, state: OperatorState) -> bytes:
        try:
            return self._dump(state)
        except Exception as error:
            raise OperatorError(operator.name, CHECKPOINT, error) from error
