"""A sink that gathers the records in a list of the user's, and which operators do so."""

from __future__ import annotations

from collections.abc import Sequence
from types import BuiltinMethodType
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.graph import Kind, Node


class ListSink(SinkFunction):
    """Appends each record to a list; replicas share it.

    Going on from a checkpoint takes back what came after it, where one replica appends.

    Args:
        records: the list.
    """

    def __init__(self, records: list[Any]) -> None:
        super().__init__()
        self.records = records
        self._alone = True

    def open(self, context: RuntimeContext) -> None:
        """Learn whether other replicas append too."""
        self._alone = context.parallelism == 1

    def execute(self, data: Any) -> None:
        """Append a record."""
        self.records.append(data)

    def snapshot(self) -> int | None:
        """Return how many records there are; None when several replicas append."""
        return len(self.records) if self._alone else None

    def restore(self, state: int | None) -> None:
        """Take back the records that came after a snapshot."""
        if state is not None and self._alone:
            del self.records[state:]

    @staticmethod
    def redistribute(states: Sequence[int | None], parallelism: int) -> list[int | None]:
        """Return nothing to take back by: which replica appended which record is not known."""
        del states
        return [None] * parallelism


def list_of(node: Node) -> list[Any] | None:
    """Return the list that an operator appends to; None of any other operator."""
    given = node.blueprint.given
    if given is ListSink:
        found: list[Any] = node.blueprint.args[0]
        return found
    return list_behind(given) if node.kind is Kind.SINK else None


def list_behind(given: Any) -> list[Any] | None:
    """Return the list of a bound ``list.append``; None of anything else."""
    if isinstance(given, BuiltinMethodType):
        owner = given.__self__
        return owner if isinstance(owner, list) and given.__name__ == "append" else None
    return None
