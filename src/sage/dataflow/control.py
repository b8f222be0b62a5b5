"""What travels among the records without being one: watermarks and the like.

A control item is sent by one producer of a channel and keeps its place among that producer's
records. It goes on when every producer of the channel has sent it (or has finished), and then to
every replica that reads the channel. An operator that does not know an item lets it pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self


class ControlItem(ABC):
    """Base of the control items.

    Attributes:
        recurring: whether a producer may send several in one slot, the last of which holds;
            otherwise it sends one.
    """

    recurring: ClassVar[bool] = False

    @property
    @abstractmethod
    def slot(self) -> Hashable:
        """What the items of several producers have in common that go on as one."""

    def joined(self, others: Iterable[Self]) -> Self:  # noqa: ARG002 - most are all alike
        """Return the item that goes on when each producer has sent one."""
        return self

    def after(self, last: Self) -> Self | None:  # noqa: ARG002 - as above
        """Return what goes on when ``last`` has, in the same slot; None when nothing does."""
        return self

    def concerns(self, stage: int) -> bool:  # noqa: ARG002 - as above
        """Say whether a stage's operators get it, and the stages after."""
        return True


@dataclass(frozen=True, slots=True)
class Watermark(ControlItem):
    """No record of an earlier time will come, as far as anybody can tell.

    Attributes:
        time: event time, in the unit of the timestamps.
        idle: whether its stream is silent, so that others need not wait for it.
    """

    time: float
    idle: bool = False
    recurring = True

    @property
    def slot(self) -> Hashable:
        """All watermarks are of one kind."""
        return Watermark

    def joined(self, others: Iterable[Watermark]) -> Watermark:
        """Return the earliest of those that are not idle: what holds for every producer.

        When all are idle it is the latest: each falls silent by itself, and the last one to do so
        was waited for alone.
        """
        everyone = (self, *others)
        awake = [watermark for watermark in everyone if not watermark.idle]
        if not awake:
            return max(everyone, key=lambda watermark: watermark.time)
        return min(awake, key=lambda watermark: watermark.time)

    def after(self, last: Watermark) -> Watermark | None:
        """Return it if time has gone on, or the stream has fallen silent or woken."""
        time = max(self.time, last.time)
        return None if (time, self.idle) == (last.time, last.idle) else Watermark(time, self.idle)


@dataclass(frozen=True, slots=True)
class Probe(ControlItem):
    """Goes once round a feedback loop: what was in the loop before it has gone round by then.

    It passes only when nothing comes from outside any more. Operators that hold records back emit
    them before it.

    Attributes:
        loop: number of the stage at which the loop begins.
        turn: how often one has been sent.
        stages: the stages of the loop, beyond which it does not go.
    """

    loop: int
    turn: int
    stages: frozenset[int]

    @property
    def slot(self) -> Hashable:
        """Each is one of its own."""
        return Probe, self.loop, self.turn

    def concerns(self, stage: int) -> bool:
        """Say whether a stage is of the loop."""
        return stage in self.stages


@dataclass(frozen=True, slots=True)
class Barrier(ControlItem):
    """Divides the records of a stream into those before a checkpoint and those after it.

    An operator saves its state when the barrier has come from all of its producers; what one of
    them sends after its barrier waits until then.

    Attributes:
        number: of the checkpoint.
        last: whether the job ends with it: its state is saved, so nothing is flushed.
    """

    number: int
    last: bool = False

    @property
    def slot(self) -> Hashable:
        """Each checkpoint has one."""
        return Barrier, self.number


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
        item = items[0].joined(items[1:])
        if not item.recurring:
            del self._arrived[slot]
            return [item]
        following = item.after(self._gone_on[slot]) if slot in self._gone_on else item
        if following is None:
            return []
        self._gone_on[slot] = following
        return [following]


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
