"""The micro-batcher: concurrent callers share engine calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from sage.errors import EngineError, RejectedError
from sage.inference.embeddings.batcher import MicroBatcher
from sage.inference.embeddings.hashing import HashEmbedder
from sage.inference.embeddings.queue import QueuePolicy
from tests.inference.embeddings.conftest import GatedEmbedder

pytestmark = pytest.mark.anyio


async def started(embedder: GatedEmbedder) -> None:
    assert await asyncio.to_thread(embedder.started.wait, 20)


async def test_concurrent_texts_share_calls_and_each_caller_gets_its_own() -> None:
    """100 callers at once: far fewer calls, every vector where it belongs."""
    embedder = HashEmbedder()
    batcher = MicroBatcher(embedder, QueuePolicy())
    texts = [f"text number {index}" for index in range(100)]
    found = await asyncio.gather(*(batcher.embed(embedder.prepare([t])) for t in texts))
    np.testing.assert_array_equal(np.concatenate(found), embedder.embed(texts))
    counts = batcher.queue.counts
    assert counts.accepted == counts.done == 100
    assert counts.batches <= 10
    assert counts.coalesced_batches >= 1
    await batcher.aclose()


async def test_what_arrives_while_the_engine_is_busy_is_the_next_batch() -> None:
    """No wait is needed under load: the queue itself coalesces."""
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, QueuePolicy())
    first = asyncio.create_task(batcher.embed(embedder.prepare(["first"])))
    await started(embedder)
    rest = [asyncio.create_task(batcher.embed(embedder.prepare([f"t{i}"]))) for i in range(20)]
    await asyncio.sleep(0)
    embedder.gate.set()
    await asyncio.gather(first, *rest)
    assert embedder.batches == [1, 20]
    await batcher.aclose()


async def test_with_max_wait_callers_some_milliseconds_apart_share_a_call() -> None:
    """An idle engine waits so long for company."""
    embedder = GatedEmbedder()
    embedder.gate.set()
    batcher = MicroBatcher(embedder, QueuePolicy(max_wait=0.5))
    first = asyncio.create_task(batcher.embed(embedder.prepare(["one"])))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(batcher.embed(embedder.prepare(["two"])))
    await asyncio.gather(first, second)
    assert embedder.batches == [2]
    await batcher.aclose()


async def test_a_failing_text_fails_only_its_caller() -> None:
    """The others that shared its call get their vectors; the failure carries its cause."""
    embedder = GatedEmbedder()
    embedder.gate.set()
    batcher = MicroBatcher(embedder, QueuePolicy())
    texts = ["good one", "poison", "good two"]
    found = await asyncio.gather(
        *(batcher.embed(embedder.prepare([t])) for t in texts), return_exceptions=True
    )
    assert isinstance(found[1], EngineError)
    assert isinstance(found[1].__cause__, RuntimeError)
    for place in (0, 2):
        np.testing.assert_array_equal(found[place], HashEmbedder(dim=16).embed([texts[place]]))
    counts = batcher.queue.counts
    assert (counts.done, counts.failed, counts.accepted) == (2, 1, 3)
    await batcher.aclose()


async def test_a_cancelled_callers_waiting_texts_never_run() -> None:
    """What has not started is dropped from the queue."""
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, QueuePolicy())
    first = asyncio.create_task(batcher.embed(embedder.prepare(["first"])))
    await started(embedder)
    gone = asyncio.create_task(batcher.embed(embedder.prepare(["gone"] * 50)))
    await asyncio.sleep(0)
    assert batcher.queue.queued_texts == 50
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert batcher.queue.queued_texts == 0
    embedder.gate.set()
    await first
    assert embedder.batches == [1]
    assert batcher.queue.counts.cancelled == 1
    await batcher.aclose()


async def test_a_full_queue_refuses_at_once() -> None:
    """It does not wait to say so."""
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, QueuePolicy(max_queue_tokens=10))
    first = asyncio.create_task(batcher.embed(embedder.prepare(["first"])))
    await started(embedder)
    waiting = asyncio.create_task(batcher.embed(embedder.prepare(["w"] * 10)))
    await asyncio.sleep(0)
    with pytest.raises(RejectedError):
        await batcher.embed(embedder.prepare(["more"]))
    embedder.gate.set()
    await asyncio.gather(first, waiting)
    await batcher.aclose()


async def test_closing_waits_for_accepted_callers() -> None:
    """aclose returns once every accepted request is answered."""
    embedder = GatedEmbedder()
    batcher = MicroBatcher(embedder, QueuePolicy())
    task = asyncio.create_task(batcher.embed(embedder.prepare(["one"])))
    await started(embedder)
    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    embedder.gate.set()
    await closing
    assert batcher.queue.counts.done == 1
    assert (await task).shape == (1, 16)
