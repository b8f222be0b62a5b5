"""Joins the texts of concurrent requests into engine calls: threads around ``BatchQueue``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sage.errors import EngineError
from sage.inference.embeddings.queue import Batch, BatchQueue, QueuedRequest, QueuePolicy

if TYPE_CHECKING:
    import numpy.typing as npt

    from sage.inference.embeddings.embedder import LocalEmbedder, PreparedText

logger = logging.getLogger("sage.embeddings")


@dataclass(slots=True, eq=False)
class Ticket:
    """A request in the batcher.

    Attributes:
        request: its place in the queue.
        texts: what to embed.
        vectors: float32, (len(texts), dim); rows are filled as their batches end.
        future: gives ``vectors`` when all are there, or the error.
    """

    request: QueuedRequest
    texts: Sequence[PreparedText]
    vectors: npt.NDArray[np.float32]
    future: asyncio.Future[npt.NDArray[np.float32]]


class MicroBatcher:
    """Runs an embedder for many concurrent callers of one event loop.

    Args:
        embedder: runs the batches, in threads off the event loop.
        policy: how texts wait; its ``workers`` is the number of threads.
        clock: seconds, only growing.
    """

    def __init__(
        self,
        embedder: LocalEmbedder,
        policy: QueuePolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = BatchQueue(policy)
        self._embedder = embedder
        self._clock = clock
        self._pool = ThreadPoolExecutor(policy.workers, thread_name_prefix="sage-embed")
        self._tickets: dict[int, Ticket] = {}
        self._pump_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def embed(self, texts: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """Return the texts' vectors in order: float32, (len(texts), dim).

        When the caller is cancelled, its texts that have not started are dropped.

        Raises:
            RejectedError: the queue is full; carries retry_after.
            BadRequestError: the request alone is more than the queue holds (413).
            EngineError: the engine failed on this request's own texts.
        """
        if not texts:
            return np.empty((0, self._embedder.dim), np.float32)
        ticket = self.submit(texts)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self.cancel(ticket)
            raise

    def submit(self, texts: Sequence[PreparedText]) -> Ticket:
        """Queue the texts, of which there is at least one, and return at once.

        Raises:
            RejectedError, BadRequestError: as ``embed``.
        """
        loop = asyncio.get_running_loop()
        request = self.queue.submit([text.tokens for text in texts], self._clock())
        vectors = np.empty((len(texts), self._embedder.dim), np.float32)
        ticket = Ticket(request, texts, vectors, loop.create_future())
        self._tickets[request.id] = ticket
        self._idle.clear()
        self._pump_soon()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for it any more: drop its texts that have not started."""
        if self.queue.cancel(ticket.request):
            del self._tickets[ticket.request.id]
            ticket.future.cancel()
            self._pump_soon()

    async def aclose(self) -> None:
        """Wait until every accepted request has its answer and every call has returned."""
        await self._idle.wait()
        self._pool.shutdown(wait=False)

    def _pump_soon(self) -> None:
        """Pump once the loop has read what else has arrived, so that all of it is batched."""
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Give every free worker what is due, and come back when the next text will be."""
        self._pump_due = False
        loop = asyncio.get_running_loop()
        now = self._clock()
        while (batch := self.queue.next_batch(now)) is not None:
            texts = [self._tickets[one.request.id].texts[one.index] for one in batch.texts]
            self._pool.submit(self._run, loop, batch, texts)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self.queue.wake_at()
        if wake is not None:
            self._timer = loop.call_later(max(0.0, wake - now), self._pump)
        if not self._tickets and not self.queue.running_batches:
            self._idle.set()

    def _run(
        self, loop: asyncio.AbstractEventLoop, batch: Batch, texts: list[PreparedText]
    ) -> None:
        """One engine call, in a worker thread."""
        try:
            vectors = self._embedder.run(texts)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises fails its requests
            loop.call_soon_threadsafe(self._failed, batch, error)
        else:
            loop.call_soon_threadsafe(self._finished, batch, vectors)

    def _finished(self, batch: Batch, vectors: npt.NDArray[np.float32]) -> None:
        for text, vector in zip(batch.texts, vectors, strict=True):
            ticket = self._tickets.get(text.request.id)
            if ticket is not None:
                ticket.vectors[text.index] = vector
        whole = self.queue.finished(batch, self._clock())
        answered = [self._tickets.pop(request.id) for request in whole]
        # The next call starts before the answers are written, so that the worker is not idle.
        self._pump()
        for ticket in answered:
            if not ticket.future.done():
                ticket.future.set_result(ticket.vectors)

    def _failed(self, batch: Batch, error: Exception) -> None:
        request = self.queue.failed(batch, self._clock())
        if request is not None:
            logger.error("a batch of %d texts failed: %s", len(batch.texts), error, exc_info=error)
            ticket = self._tickets.pop(request.id)
            if not ticket.future.done():
                ticket.future.set_exception(_engine_error(error))
        self._pump()


def _engine_error(error: Exception) -> EngineError:
    wrapped = EngineError(f"the engine failed on this request: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
