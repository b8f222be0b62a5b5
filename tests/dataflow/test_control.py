"""Control items: aligned over producers, given to every consumer, in their place."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import wait_until

from sage.dataflow.channel import Channel, EndOfStream
from sage.dataflow.control import Alignment, ControlItem, Watermark
from sage.dataflow.output import Output


@dataclass(frozen=True)
class Once(ControlItem):
    """An item that goes on once, as a checkpoint's barrier would."""

    number: int

    @property
    def slot(self) -> Hashable:
        return Once, self.number

    def joined(self, others: Iterable[Once]) -> Once:
        return self


def test_an_item_keeps_its_place_among_the_records() -> None:
    """What was put before comes before, what was put after comes after."""
    channel = Channel(100)
    channel.put([1, 2])
    channel.control(Watermark(5), "p")
    channel.put([3])
    channel.put([4])
    assert [channel.take(9), channel.take(9), channel.take(9)] == [[1, 2], Watermark(5), [3, 4]]


def test_every_consumer_gets_it_before_later_records() -> None:
    """Also one that takes after another has passed it, and at the end of the stream."""
    channel = Channel(100, consumers=3)
    channel.control(Watermark(5), "p")
    channel.put([1, 2, 3])
    channel.finish("p")
    assert channel.take(1, consumer=2) == Watermark(5)
    assert channel.take(3, consumer=2) == [1]
    assert channel.take(1, consumer=0) == Watermark(5)
    assert channel.take(9, consumer=0) == [2]
    assert channel.take(9, consumer=2) == [3]
    assert channel.take(1, consumer=1) == Watermark(5)
    for consumer in range(3):
        with pytest.raises(EndOfStream):
            channel.take(1, consumer=consumer)


def test_a_producer_waits_for_no_control_item() -> None:
    """One that filled the channel goes on when its record is taken and an item passed."""
    channel = Channel(1)
    producer = threading.Thread(target=channel.put, args=([1],))
    producer.start()
    wait_until(lambda: channel.full)
    channel.control(Watermark(5), "p")
    assert [channel.take(1), channel.take(1)] == [[1], Watermark(5)]
    producer.join(20)
    assert not producer.is_alive()


def test_the_open_batch_goes_before_it() -> None:
    """Records offered one by one are not overtaken."""
    channel = Channel(100)
    output = Output("source", [[channel]], 10)
    output.offer(1)
    output.control(Watermark(5))
    output.offer(2)
    assert [channel.take(9), channel.take(9), channel.take(9)] == [[1], Watermark(5), [2]]


def test_it_waits_for_every_producer() -> None:
    """One that has finished is not waited for; an item of one kind does not stand for another."""
    alignment = Alignment(3)
    assert alignment.arrive("a", Once(1)) == []
    assert alignment.arrive("b", Once(2)) == []
    assert alignment.arrive("b", Once(1)) == []
    assert alignment.arrive("c", Once(1)) == [Once(1)]
    assert alignment.arrive("a", Once(2)) == []
    assert alignment.finish("c") == [Once(2)]
    assert alignment.finish("b") == []


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=40),
    st.integers(1, 4),
)
def test_watermarks_are_the_earliest_of_all(steps: list[tuple[int, int]], producers: int) -> None:
    """What goes on is the minimum over the producers, whenever it rises."""
    alignment = Alignment(producers)
    latest = dict.fromkeys(range(producers), -1)
    went_on = -1
    for who, time in steps:
        producer = who % producers
        latest[producer] = max(latest[producer], time)
        released = alignment.arrive(producer, Watermark(latest[producer]))
        lowest = min(latest.values())
        assert released == ([Watermark(lowest)] if lowest > went_on else [])
        went_on = max(went_on, lowest)


def test_idle_producers_are_left_out() -> None:
    """Until they wake; the watermark never goes back. All idle, it is where the last one was."""
    alignment = Alignment(2)
    alignment.arrive("a", Watermark(3))
    assert alignment.arrive("b", Watermark(9)) == [Watermark(3)]
    assert alignment.arrive("a", Watermark(3, idle=True)) == [Watermark(9)]
    assert alignment.arrive("b", Watermark(11, idle=True)) == [Watermark(11, idle=True)]
    assert alignment.arrive("a", Watermark(4)) == [Watermark(11)]
    assert alignment.arrive("b", Watermark(12)) == []
    assert alignment.arrive("a", Watermark(15)) == [Watermark(12)]


def test_a_channel_without_them_has_no_alignment() -> None:
    """Streams without windows pay nothing."""
    channel = Channel(100, producers=2)
    channel.put([1])
    channel.finish()
    assert channel._alignment is None
