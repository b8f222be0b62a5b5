"""The bounded queue between stages."""

from __future__ import annotations

import threading

import pytest

from sage.dataflow.channel import Channel, ChannelClosed, EndOfStream


def test_fifo_and_splitting() -> None:
    """Records come out in order, in lists of the size asked for, whatever went in."""
    channel = Channel(100)
    channel.put([1, 2, 3, 4, 5])
    channel.put([6])
    channel.put([7, 8])
    assert [channel.take(2), channel.take(4), channel.take(9)] == [[1, 2], [3, 4, 5, 6], [7, 8]]


def test_lists_put_in_are_not_changed() -> None:
    """A list that several stages share stays as it was."""
    channel = Channel(100)
    shared = [1, 2]
    channel.put(shared)
    channel.put([3])
    assert channel.take(3) == [1, 2, 3]
    assert shared == [1, 2]


def test_consumers_share() -> None:
    """A consumer takes no more than its share of what waits."""
    channel = Channel(100, consumers=4)
    channel.put(list(range(8)))
    assert [len(channel.take(100)) for _ in range(3)] == [2, 2, 1]


def test_end_of_stream() -> None:
    """The end comes when every producer has finished and all was taken."""
    channel = Channel(100, producers=2)
    channel.finish()
    channel.put([1])
    channel.finish()
    assert channel.take(10) == [1]
    with pytest.raises(EndOfStream):
        channel.take(10)


def test_full_channel_stops_its_producer() -> None:
    """put() waits until there is room."""
    channel = Channel(capacity=4)
    done = threading.Event()

    def produce() -> None:
        channel.put([1, 2, 3, 4])
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    assert not done.wait(0.05)
    assert channel.statistics().queued == 4
    channel.take(2)
    assert done.wait(10)
    producer.join()


def test_close_wakes_everyone() -> None:
    """close() ends a waiting put and a waiting take."""
    full, empty = Channel(capacity=1), Channel(capacity=1)
    ended = []

    def producer() -> None:
        with pytest.raises(ChannelClosed):
            full.put([1])
        ended.append("put")

    def consumer() -> None:
        with pytest.raises(ChannelClosed):
            empty.take(1)
        ended.append("take")

    threads = [threading.Thread(target=producer), threading.Thread(target=consumer)]
    for thread in threads:
        thread.start()
    full.close()
    empty.close()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == ["put", "take"]


def test_timeout() -> None:
    """take() with a timeout returns nothing, and leaves no claim on the next record."""
    channel = Channel(10)
    assert channel.take(1, timeout=0.001) == []
    assert not channel.hungry
    channel.put([1])
    assert channel.take(1, timeout=0.001) == [1]


def test_open_batch_is_taken_when_nothing_else_is_there() -> None:
    """What a slow producer has gathered is taken without its doing, after what it put before."""
    channel = Channel(10)
    batch = channel.open_batch()
    batch.append(1)
    channel.flush(batch)
    batch.extend([2, 3])
    assert channel.take(10) == [1]
    assert channel.take(1) == [2]
    channel.finish()
    assert channel.take(10) == [3]
    with pytest.raises(EndOfStream):
        channel.take(1)


def test_hungry_while_a_consumer_waits() -> None:
    """A producer sees that its next record is wanted at once."""
    channel = Channel(10)
    batch = channel.open_batch()
    taken: list[int] = []
    consumer = threading.Thread(target=lambda: taken.extend(channel.take(1)))
    consumer.start()
    deadline = threading.Event()
    while not channel.hungry:
        assert consumer.is_alive()
        deadline.wait(0.001)
    batch.append(7)
    channel.flush(batch)
    consumer.join(10)
    assert taken == [7]
    assert not channel.hungry
