"""What a producer sends after its barrier waits for the barriers of the others."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream
from sage.dataflow.control import Barrier, ControlItem, Watermark

ONE = Barrier(1)


def drained(channel: Channel) -> list[Any]:
    """Return what can be taken now, in order; "end" at the end."""
    taken: list[Any] = []
    while True:
        try:
            records = channel.take(100, timeout=0.0)
        except EndOfStream:
            return [*taken, "end"]
        if isinstance(records, ControlItem):
            taken.append(records)
        elif records:
            taken += records
        else:
            return taken


def test_a_producer_is_held_behind_its_barrier() -> None:
    """Its records, watermarks and end come after the barrier, those of the others before."""
    channel = Channel(100, producers=2)
    channel.put([1], "a")
    channel.control(ONE, "a")
    channel.put([3], "a")
    channel.control(Watermark(9.0), "a")
    channel.finish("a")
    channel.put([2], "b")
    channel.control(Watermark(5.0), "b")
    assert drained(channel) == [1, 2]
    assert channel.statistics().queued == 1
    channel.control(ONE, "b")
    assert drained(channel) == [ONE, 3, Watermark(5.0)]
    channel.finish("b")
    assert drained(channel) == ["end"]


def test_a_producer_that_ends_is_not_waited_for() -> None:
    """The end of the last one that has sent no barrier lets it go on."""
    channel = Channel(100, producers=3)
    channel.finish("c")
    channel.control(ONE, "a")
    channel.put([2], "a")
    channel.put([1], "b")
    channel.finish("b")
    assert drained(channel) == [1, ONE, 2]
    channel.finish("a")
    assert drained(channel) == ["end"]


def test_an_open_batch_is_held_too() -> None:
    """A consumer that finds nothing else does not take from the batch of a held producer."""
    channel = Channel(100, producers=2)
    held, free = channel.open_batch("a"), channel.open_batch("b")
    held.append(1)
    channel.flush(held, "a")
    channel.control(ONE, "a")
    held.append(3)
    free.append(2)
    assert drained(channel) == [1, 2]
    channel.control(ONE, "b")
    assert drained(channel) == [ONE, 3]


def test_a_held_producer_stops_nobody_else() -> None:
    """One that fills its share waits; the others, whom it waits for, go on."""
    channel = Channel(2, producers=2)
    channel.control(ONE, "a")
    blocked = threading.Thread(target=channel.put, args=([1, 2, 3], "a"))
    blocked.start()
    for record in (4, 5, 6):
        channel.put([record], "b")
        assert channel.take(10) == [record]
    assert blocked.is_alive()
    channel.control(ONE, "b")
    assert drained(channel) == [ONE, 1, 2, 3]
    blocked.join(5)
    assert not blocked.is_alive()


def test_every_consumer_gets_the_barrier() -> None:
    """Each gets it once, before any record that came after it."""
    channel = Channel(100, producers=1, consumers=2)
    channel.put([1], "a")
    channel.control(ONE, "a")
    channel.put([2, 3], "a")
    assert channel.take(10, consumer=0) == [1]
    assert channel.take(10, consumer=0) == ONE
    assert channel.take(1, consumer=0) == [2]
    assert channel.take(10, consumer=1) == ONE
    assert channel.take(10, consumer=1) == [3]


class Senders:
    """Three producers of one channel, which send what they are told and remember it."""

    def __init__(self) -> None:
        self.channel = Channel(10_000, producers=3)
        self.epochs = {"a": 0, "b": 0, "c": 0}
        self.sent: dict[str, list[tuple[str, int, int]]] = {"a": [], "b": [], "c": []}
        self.alive = ["a", "b", "c"]

    def put(self, name: str) -> None:
        record = (name, self.epochs[name], len(self.sent[name]))
        self.sent[name].append(record)
        self.channel.put([record], name)

    def barrier(self, name: str) -> None:
        # A new checkpoint begins only when the one before has come together.
        if self.epochs[name] == min(self.epochs[each] for each in self.alive):
            self.epochs[name] += 1
            self.channel.control(Barrier(self.epochs[name]), name)

    def watermark(self, name: str) -> None:
        self.channel.control(Watermark(float(len(self.sent[name]))), name)

    def finish(self, name: str) -> None:
        self.alive.remove(name)
        self.channel.finish(name)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "barrier", "watermark", "finish"]),
            st.sampled_from(["a", "b", "c"]),
        ),
        max_size=60,
    )
)
def test_barriers_divide_every_producers_records(moves: list[tuple[str, str]]) -> None:
    """Whatever the order of sending: before the barrier are all records sent before it, no others.

    Nothing is lost, and each producer's records keep their order.
    """
    senders = Senders()
    for move, name in moves:
        if name in senders.alive:
            getattr(senders, move)(name)
    for name in tuple(senders.alive):
        senders.finish(name)
    passed = 0
    taken: dict[str, list[tuple[str, int, int]]] = {"a": [], "b": [], "c": []}
    for each in drained(senders.channel)[:-1]:
        if isinstance(each, Barrier):
            passed += 1
            assert each.number == passed
        elif isinstance(each, tuple):
            assert each[1] == passed
            taken[each[0]].append(each)
    assert taken == senders.sent
    assert passed == max(senders.epochs.values())


def test_a_closed_channel_lets_a_held_producer_go() -> None:
    """A producer that waits behind its barrier ends with the job."""
    channel = Channel(1, producers=2)
    channel.control(ONE, "a")
    failed: list[BaseException] = []

    def put() -> None:
        try:
            channel.put([1, 2], "a")
        except ChannelClosed as error:
            failed.append(error)

    blocked = threading.Thread(target=put)
    blocked.start()
    channel.close()
    blocked.join(5)
    assert len(failed) == 1
    with pytest.raises(ChannelClosed):
        channel.take(1)
