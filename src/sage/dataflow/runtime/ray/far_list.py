"""A sink whose list is in another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.graph import Node
from sage.dataflow.runtime.ray.outbox import Outbox
from sage.dataflow.sinks.gathered import list_of


class FarList(SinkFunction):
    """Stands for a `ListSink`: its records go to the list, which is in the driver.

    Args:
        operator: the sink's id.
        length: of the list, when the job began.
    """

    def __init__(self, operator: int, length: int) -> None:
        super().__init__()
        self._operator = operator
        self._length = length
        self._outbox: Outbox | None = None
        self._alone = True

    def reach(self, outbox: Outbox) -> None:
        """Take what leads to the driver, before ``open``."""
        self._outbox = outbox

    def open(self, context: RuntimeContext) -> None:
        """Learn whether other replicas append too."""
        self._alone = context.parallelism == 1

    def execute(self, data: Any) -> None:
        """Append a record."""
        assert self._outbox is not None
        self._outbox.gather(self._operator, data)
        self._length += 1

    def snapshot(self) -> int | None:
        """Return how many records there are; None when several replicas append."""
        return self._length if self._alone else None

    def restore(self, state: int | None) -> None:
        """Take back the records that came after a snapshot."""
        assert self._outbox is not None
        if state is not None and self._alone:
            self._length = min(self._length, state)
            self._outbox.cut(self._operator, state)

    @staticmethod
    def redistribute(states: Sequence[int | None], parallelism: int) -> list[int | None]:
        """Return nothing to take back by: which replica appended which record is not known."""
        del states
        return [None] * parallelism


def sent_home(node: Node) -> Node:
    """Return an operator as it is to run elsewhere: one that appends to a list sends home."""
    records = list_of(node)
    if records is None:
        return node
    return replace(node, blueprint=Blueprint(FarList, (node.id, len(records))))
