"""Reading what a source was made from: an operator object, an iterable, or a callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any

from sage.dataflow.functions.edges import BatchFunction
from sage.dataflow.replica import OperatorReplica
from sage.errors import GraphError, OperatorError, shorten

READING = "<next record>"


def is_eager(given: object) -> bool:
    """Say whether all records lie in memory already, so that reading them never waits."""
    return isinstance(given, Sized) and isinstance(given, Iterable)


class SourceReader:
    """Reads one replica of a source.

    Args:
        replica: the operator; its target is what the user gave, an instance where a class was.
    """

    def __init__(self, replica: OperatorReplica) -> None:
        self.replica = replica
        self._position = 0
        self._iterator: Iterator[Any] | None = None

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
        pulls = self._pulls()
        while True:
            try:
                record = next(pulls)
            except StopIteration:
                return
            except Exception as error:
                self.replica.meter.failed += 1
                raise OperatorError(self.replica.name, READING, error) from error
            if record is not None:
                self.replica.meter.records_out += 1
            yield record

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
