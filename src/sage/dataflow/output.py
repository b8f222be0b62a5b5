"""Where a stage replica's records go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from sage.dataflow.channel import Channel
from sage.dataflow.control import ControlItem
from sage.dataflow.event_time import Stamped
from sage.dataflow.keys import partition
from sage.dataflow.meter import Traffic
from sage.errors import OperatorError


class Output:
    """Gives every record to every consuming stage.

    Args:
        operator: name of the operator that emits, for errors.
        targets: each consuming stage's channels: one that its replicas share, or, for a keyed
            stage, one for each replica. None at all for a stage that ends in sinks.
        batch_size: most records of an open batch.
        traffic: of the operator that emits; its time before full channels is added here.
    """

    def __init__(
        self,
        operator: str,
        targets: Sequence[Sequence[Channel]],
        batch_size: int,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._operator = operator
        self._targets = targets
        self._batch_size = batch_size
        shared = len(targets) == 1 and len(targets[0]) == 1
        self._only = targets[0][0] if shared else None
        self._open: deque[Any] = self._only.open_batch(self) if self._only else deque()

    @property
    def full(self) -> bool:
        """Whether `put` would wait."""
        return any(channel.full for channels in self._targets for channel in channels)

    def put(self, records: list[Any]) -> None:
        """Give a list, waiting while a channel is full.

        Raises:
            ChannelClosed: the job was stopped.
            OperatorError: a record's key cannot be a key.
        """
        if not records:
            return
        for channels in self._targets:
            if len(channels) == 1:
                self._traffic.blocked += channels[0].put(records, self)
            else:
                parts = split_by_key(records, len(channels), self._operator)
                for channel, part in zip(channels, parts, strict=True):
                    self._traffic.blocked += channel.put(part, self)

    def offer(self, record: Any) -> None:
        """Give one record, at little cost, when more may follow soon.

        Raises:
            ChannelClosed: the job was stopped.
        """
        if self._only is None:
            self.put([record])
            return
        self._open.append(record)
        if self._only.hungry or len(self._open) >= self._batch_size:
            self._traffic.blocked += self._only.flush(self._open, self)

    def control(self, item: ControlItem) -> None:
        """Send a control item to every replica of every consuming stage, behind the records.

        Raises:
            ChannelClosed: the job was stopped.
        """
        if self._only is not None and self._open:
            self._only.flush(self._open, self)
        for channels in self._targets:
            for channel in channels:
                channel.control(item, self)

    def finish(self) -> None:
        """Say that no more will come."""
        for channels in self._targets:
            for channel in channels:
                channel.finish(self)


def split_by_key(
    pairs: Iterable[tuple[Any, Any]], count: int, operator: str
) -> list[list[tuple[Any, Any]]]:
    """Divide (key, record) pairs among ``count`` replicas, keeping their order.

    Args:
        pairs: what a keyby emitted.
        count: how many replicas there are.
        operator: the keyby's name, for errors.

    Raises:
        OperatorError: a key is of a type that cannot be one.
    """
    parts: list[list[tuple[Any, Any]]] = [[] for _ in range(count)]
    for pair in pairs:
        try:
            parts[partition(pair[0], count)].append(pair)
        except TypeError as error:
            record = pair[1].record if isinstance(pair[1], Stamped) else pair[1]
            raise OperatorError(operator, record, error) from error
    return parts
