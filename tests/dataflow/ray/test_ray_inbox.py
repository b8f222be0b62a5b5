"""The inbox of an actor: what comes in another order goes in in its own, and room is answered."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from sage.dataflow.channel import ChannelClosed, EndOfStream
from sage.dataflow.control import Barrier, Watermark
from sage.dataflow.runtime.ray.inbox import AHEAD, Door, Inbox
from sage.errors import DataflowError


def enter(door: Door, number: int, sent: Any, producer: int = 0) -> asyncio.Task[int]:
    return asyncio.ensure_future(door.enter(producer, number, pickle.dumps(sent)))


def test_each_producers_order_is_kept() -> None:
    """Batches that overtake each other on the way wait for those before them."""

    async def run() -> Inbox:
        inbox = Inbox(100, producers=2, paced=False)
        door = Door(inbox)
        await asyncio.gather(
            enter(door, 2, None),
            enter(door, 1, [3]),
            enter(door, 0, ["a"], producer=1),
            enter(door, 0, [1, 2]),
            enter(door, 1, None, producer=1),
        )
        return inbox

    inbox = asyncio.run(run())
    assert inbox.take(10) == ["a", 1, 2, 3]
    with pytest.raises(EndOfStream):
        inbox.take(10)


def test_the_answer_comes_when_there_is_room() -> None:
    """A full inbox takes what is on its way, and answers when the consumer has taken enough."""

    async def run() -> None:
        inbox = Inbox(4, producers=1, paced=False)
        door = Door(inbox)
        assert await enter(door, 0, [1, 2]) == 4
        late = enter(door, 1, [3, 4, 5])
        await asyncio.sleep(0)
        assert not late.done()
        assert await asyncio.to_thread(inbox.take, 2) == [1, 2]
        await asyncio.sleep(0)
        assert not late.done()
        assert await asyncio.to_thread(inbox.take, 2) == [3, 4]
        assert await late == 4

    asyncio.run(run())


def test_a_paced_inbox_holds_a_few_batches() -> None:
    """Of a stage whose replicas share what comes, each asks for no more than it soon takes."""
    now = 0.0

    async def run() -> None:
        nonlocal now
        inbox = Inbox(1000, producers=1, paced=True, clock=lambda: now)
        door = Door(inbox)
        assert await enter(door, 0, [1]) == AHEAD - 1
        inbox.take(50)
        assert await enter(door, 1, [2, 3]) == 50 * AHEAD - 2
        inbox.take(5000)
        assert await enter(door, 2, [4]) == 999
        inbox.take(1)
        now += 3.0  # a slow record: the next one may wait here, no other
        await enter(door, 3, [5])
        inbox.take(1)
        assert await enter(door, 4, []) == 1
        full = enter(door, 5, [6])
        await asyncio.sleep(0)
        assert not full.done()
        inbox.close()
        with pytest.raises(ChannelClosed):
            await full

    asyncio.run(run())


def test_a_barrier_holds_back_who_sent_it() -> None:
    """What a producer sends behind its barrier waits for the others' barriers."""

    async def run() -> Inbox:
        inbox = Inbox(100, producers=2, paced=False)
        door = Door(inbox)
        await enter(door, 0, Barrier(1))
        await enter(door, 1, ["after"])
        await enter(door, 0, ["before"], producer=1)
        await enter(door, 1, Barrier(1), producer=1)
        return inbox

    inbox = asyncio.run(run())
    assert [inbox.take(9) for _ in range(3)] == [["before"], Barrier(1), ["after"]]


def test_the_earliest_watermark_goes_on() -> None:
    """Of two producers' watermarks, as in any channel."""

    async def run() -> Inbox:
        inbox = Inbox(100, producers=2, paced=False)
        door = Door(inbox)
        await enter(door, 0, Watermark(5.0))
        await enter(door, 0, Watermark(3.0), producer=1)
        return inbox

    assert asyncio.run(run()).take(9) == Watermark(3.0)


def test_a_closed_inbox_answers_nobody() -> None:
    """Who waits for room, and who comes later, learns that the job was stopped."""

    async def run() -> None:
        inbox = Inbox(1, producers=1, paced=False)
        door = Door(inbox)
        waiting = enter(door, 0, [1])
        await asyncio.sleep(0)
        inbox.close()
        with pytest.raises(ChannelClosed):
            await waiting
        with pytest.raises(ChannelClosed):
            await enter(door, 1, [2])

    asyncio.run(run())


def test_records_that_nobody_takes_are_refused() -> None:
    """As those that come back to a loop after its end."""

    async def run() -> None:
        inbox = Inbox(1, producers=1, paced=False)
        inbox.refuse(DataflowError("too late"))
        with pytest.raises(DataflowError, match="too late"):
            await enter(Door(inbox), 0, [1])

    asyncio.run(run())
