"""Reading what a source was made from: an operator object, an iterable, or a callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any

from sage.dataflow.functions.edges import BatchFunction, SourceFunction
from sage.dataflow.graph import Node
from sage.dataflow.lifecycle import method_of
from sage.dataflow.replica import OperatorReplica
from sage.errors import CheckpointError, GraphError, OperatorError, SageError, shorten

READING = "<next record>"


def is_eager(given: object) -> bool:
    """Say whether all records lie in memory already, so that reading them never waits."""
    return isinstance(given, Sized) and isinstance(given, Iterable)


def check_replayable(node: Node, *, again: bool) -> None:
    """Raise `GraphError` unless a source can be read from a place where it was before.

    Args:
        node: the source.
        again: whether it may have to be read anew in this process.
    """
    given = node.blueprint.given
    kind = given if isinstance(given, type) else type(given)
    says_where = all(callable(getattr(kind, name, None)) for name in ("offset", "seek"))
    if issubclass(kind, SourceFunction) and not says_where:
        raise GraphError(
            f"source {node.name!r} cannot be read again from where a checkpoint was taken: define "
            "offset(), which returns where the next record begins, and seek(offset) in it"
        )
    if again and node.blueprint.is_instance:
        raise GraphError(
            f"source {node.name!r} is an instance, which would go on from where it is after a "
            "restart from the beginning; give the class and its arguments"
        )
    if again and isinstance(given, Iterator):
        raise GraphError(
            f"source {node.name!r} is an iterator, which cannot be read again after a restart; "
            "give a function that returns it"
        )


class SourceReader:
    """Reads one replica of a source.

    Args:
        replica: the operator; its target is what the user gave, an instance where a class was.
    """

    def __init__(self, replica: OperatorReplica) -> None:
        self.replica = replica
        self._position = 0
        self._iterator: Iterator[Any] | None = None
        self._pulling: Iterator[Any] | None = None

    @property
    def eager(self) -> bool:
        """Whether `read` serves it; otherwise `pulls` does."""
        return self.replica.node.eager

    def read(self, limit: int) -> Sequence[Any]:
        """Return up to ``limit`` records of a collection; none when it has ended.

        Raises:
            OperatorError: its iteration raised.
        """
        records = self._slice(limit)
        self.replica.meter.records_out += len(records)
        return records

    def pulls(self) -> Iterator[Any]:
        """Yield records as the source gives them, and None when it has nothing now.

        Raises:
            OperatorError: the source raised.
        """
        meter = self.replica.meter
        pulls = self._pulling or self._pulls()
        try:
            for record in pulls:
                if record is not None:
                    meter.records_out += 1
                yield record
        except Exception as error:
            meter.failed += 1
            raise OperatorError(self.replica.name, READING, error) from error

    def offset(self) -> Any:
        """Return where the next record begins: what the source says, or how many it has given."""
        method = method_of(self.replica.target, "offset")
        return self.replica.meter.records_out if method is None else method()

    def seek(self, offset: Any) -> None:
        """Go on from an offset; after ``open``.

        A source without offsets is read again from its beginning, and what it gives is passed over
        until then.

        Raises:
            OperatorError: the source raised.
            CheckpointError: it ended before.
        """
        target, name = self.replica.target, self.replica.name
        method = method_of(target, "seek")
        try:
            if method is not None:
                method(offset)
            elif isinstance(target, (list, tuple, range)):
                self._position = offset
                self._check_skipped(min(offset, len(target)), offset)
            else:
                self._skip(offset)
        except SageError:
            raise
        except Exception as error:
            raise OperatorError(name, READING, error) from error

    def _skip(self, count: int) -> None:
        if self.eager:
            self._iterator = records = iter(self.replica.target)
        else:
            self._pulling = self._pulls()
            records = (record for record in self._pulling if record is not None)
        self._check_skipped(sum(1 for _ in islice(records, count)), count)

    def _check_skipped(self, skipped: int, count: int) -> None:
        if skipped < count:
            raise CheckpointError(
                f"source {self.replica.name!r} gave {skipped:,} records and then ended, and the "
                f"checkpoint is at its record {count:,}; it must give the same ones again"
            )

    def _slice(self, limit: int) -> Sequence[Any]:
        target = self.replica.target
        if isinstance(target, (list, tuple, range)):
            begin = self._position
            self._position = min(begin + limit, len(target))
            return target[begin : self._position]
        try:
            if self._iterator is None:
                self._iterator = iter(target)
            return list(islice(self._iterator, limit))
        except Exception as error:
            self.replica.meter.failed += 1
            raise OperatorError(self.replica.name, READING, error) from error

    def _pulls(self) -> Iterator[Any]:
        target, node = self.replica.target, self.replica.node
        if self.replica.is_object:
            bounded = node.bounded or isinstance(target, BatchFunction)
            return _execute_until_none(target.execute) if bounded else _execute(target.execute)
        return iter(target if isinstance(target, Iterable) else _called(target))


def _called(target: Callable[[], Any]) -> Iterable[Any]:
    records = target()
    if not isinstance(records, Iterable):
        raise GraphError(
            f"the source function returned {shorten(records)}; it must yield records or return an "
            "iterable. To be asked for one record at a time, derive from SourceFunction"
        )
    return records


def _execute(execute: Callable[[], Any]) -> Iterator[Any]:
    while True:
        try:
            record = execute()
        except StopIteration:
            return
        yield record


def _execute_until_none(execute: Callable[[], Any]) -> Iterator[Any]:
    for record in _execute(execute):
        if record is None:
            return
        yield record
