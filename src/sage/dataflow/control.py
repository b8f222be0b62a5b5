"""What travels among the records without being one: watermarks and the like.

A control item is sent by one producer of a channel and keeps its place among that producer's
records. It goes on when every producer of the channel has sent it (or has finished), and then to
every replica that reads the channel. An operator that does not know an item lets it pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Self


class ControlItem(ABC):
    """Base of the control items."""

    @property
    @abstractmethod
    def slot(self) -> Hashable:
        """What the items of several producers have in common that go on as one."""

    @abstractmethod
    def joined(self, others: Iterable[Self]) -> Self:
        """Return the item that goes on when each producer has sent one."""

    def follows(self, last: Self) -> bool:  # noqa: ARG002 - most items go on once
        """Say whether it goes on after ``last`` has, in the same slot."""
        return False


@dataclass(frozen=True, slots=True)
class Watermark(ControlItem):
    """No record of an earlier time will come, as far as anybody can tell.

    Attributes:
        time: event time, in the unit of the timestamps.
    """

    time: float

    @property
    def slot(self) -> Hashable:
        """All watermarks are of one kind."""
        return Watermark

    def joined(self, others: Iterable[Watermark]) -> Watermark:
        """Return the earliest: what holds for every producer."""
        return min((self, *others), key=lambda watermark: watermark.time)

    def follows(self, last: Watermark) -> bool:
        """Say whether time has gone on."""
        return self.time > last.time


class Alignment:
    """Makes one item of those that the producers of a channel send.

    Args:
        producers: how many have not finished.
    """

    def __init__(self, producers: int) -> None:
        self._producers = producers
        self._arrived: dict[Hashable, dict[Hashable, ControlItem]] = {}
        self._gone_on: dict[Hashable, ControlItem] = {}

    def arrive(self, producer: Hashable, item: ControlItem) -> list[ControlItem]:
        """Take a producer's item; return what goes on: one item or none."""
        self._arrived.setdefault(item.slot, {})[producer] = item
        return self._release(item.slot)

    def finish(self, producer: Hashable) -> list[ControlItem]:
        """Wait no more for a producer; return what goes on thereby."""
        self._producers -= 1
        released: list[ControlItem] = []
        for slot in tuple(self._arrived):
            self._arrived[slot].pop(producer, None)
            released += self._release(slot)
        return released

    def _release(self, slot: Hashable) -> list[ControlItem]:
        items = tuple(self._arrived[slot].values())
        if not items or len(items) < self._producers:
            return []
        item: Any = items[0].joined(items[1:])
        last = self._gone_on.get(slot)
        if last is not None and not item.follows(last):
            return []
        self._gone_on[slot] = item
        return [item]


class Controlled(ABC):
    """An operator that acts on control items."""

    @abstractmethod
    def act(self, item: ControlItem) -> list[Any]:
        """Return the records to emit before the item goes on."""


class ControlSource(Controlled):
    """An operator that sends control items, in place of those of its kind that reach it."""

    def act(self, item: ControlItem) -> list[Any]:  # noqa: ARG002 - it holds no records
        """Emit nothing."""
        return []

    @abstractmethod
    def absorbs(self, item: ControlItem) -> bool:
        """Say whether an item ends here."""

    @abstractmethod
    def originated(self) -> ControlItem | None:
        """Return an item to send after the records emitted so far, or None."""
