"""Where a stage replica's records go."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from sage.dataflow.channel import Channel


class Output:
    """Gives every record to every consuming stage.

    Args:
        channels: the consuming stages' channels; none for a stage that ends in sinks.
        batch_size: most records of an open batch.
    """

    def __init__(self, channels: Sequence[Channel], batch_size: int) -> None:
        self._channels = channels
        self._batch_size = batch_size
        self._only = channels[0] if len(channels) == 1 else None
        self._open: deque[Any] = self._only.open_batch() if self._only else deque()

    def put(self, records: list[Any]) -> None:
        """Give a list, waiting while a channel is full.

        Raises:
            ChannelClosed: the job was stopped.
        """
        for channel in self._channels:
            channel.put(records)

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
            self._only.flush(self._open)

    def finish(self) -> None:
        """Say that no more will come."""
        for channel in self._channels:
            channel.finish()
