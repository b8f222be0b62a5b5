"""Which waiting texts run next: a pure state machine, fed with events that carry ``now``.

Texts of many requests wait together. A batch is built around the text whose turn it is and takes
the waiting texts nearest to it in length, so it pads little whoever sent them. Turns follow fair
queueing between requests (Demers, Keshav, Shenker, 1989): a single text that arrives behind a bulk
of thousands gets its turn after its fair share, not after the bulk; and nothing starves, since
virtual time moves on with the work done.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sage.errors import BadRequestError, ConfigError, RejectedError
from sage.inference.embeddings.batching import BatchLimits, window_around

# How fast the measured speed follows the newest batches, as the weight of one batch.
_SPEED_WEIGHT = 0.1
_LEAST_RETRY_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How texts wait.

    Attributes:
        limits: how large a batch may be.
        workers: batches that run at once.
        max_wait: seconds that a text waits for company while a worker is idle. Texts that waited
            for a busy worker have had that time already, so under load it costs nothing. The
            default is none: on CPUs any wait lost throughput below 8 concurrent requests and won
            nothing above.
        max_queue_tokens: tokens that may wait; beyond it requests are refused.
    """

    limits: BatchLimits = field(default_factory=BatchLimits)
    workers: int = 1
    max_wait: float = 0.0
    max_queue_tokens: int = 1_048_576

    def __post_init__(self) -> None:
        if self.workers < 1 or self.max_queue_tokens < 1 or self.max_wait < 0:
            raise ConfigError(
                f"QueuePolicy needs workers ≥ 1, max_queue_tokens ≥ 1 and max_wait ≥ 0, not {self}"
            )


class RequestPhase(StrEnum):
    """Where a request is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request and how far it is.

    Attributes:
        id: unique in its queue.
        remaining: texts without a vector yet.
        phase: queued until its first text runs.
    """

    id: int
    remaining: int
    phase: RequestPhase = RequestPhase.QUEUED

    @property
    def live(self) -> bool:
        """Whether someone still waits for it."""
        return self.phase in (RequestPhase.QUEUED, RequestPhase.RUNNING)


@dataclass(slots=True, eq=False)
class QueuedText:
    """One text of a request.

    Attributes:
        request: whose it is.
        index: its place in the request.
        tokens: how many it has.
        order: when it was queued, as a number that only grows.
        arrived: when it was queued, in seconds of the caller's clock.
        waiting: false once it has been taken or dropped.
    """

    request: QueuedRequest
    index: int
    tokens: int
    order: int
    arrived: float
    waiting: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Texts to run in one call."""

    texts: tuple[QueuedText, ...]

    @property
    def padded_tokens(self) -> int:
        """Tokens that the call computes, padding included."""
        return len(self.texts) * max(text.tokens for text in self.texts)

    @property
    def tokens(self) -> int:
        """Tokens that the texts have."""
        return sum(text.tokens for text in self.texts)

    @property
    def requests(self) -> set[QueuedRequest]:
        """Whose texts these are."""
        return {text.request for text in self.texts}


@dataclass(slots=True)
class QueueCounts:
    """Totals since the start; accepted = done + failed + cancelled + queued + running."""

    accepted: int = 0
    rejected: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    texts: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    coalesced_batches: int = 0
    batch_failures: int = 0
    busy_seconds: float = 0.0


class BatchQueue:
    """Holds the waiting texts and decides what runs next; it knows no thread and no clock.

    Args:
        policy: how texts wait.
    """

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.counts = QueueCounts()
        self._live: dict[int, QueuedRequest] = {}
        self._next_id = 0
        self._next_order = 0
        # The same waiting texts three ways: by turn, by length, and in order of arrival.
        self._turns: list[tuple[float, int, QueuedText]] = []
        self._by_length: list[tuple[int, int, QueuedText]] = []
        self._arrivals: deque[QueuedText] = deque()
        self._retries: deque[tuple[QueuedText, ...]] = deque()
        self._queued_tokens = 0
        self._virtual_time = 0.0
        # Calls under way, and since when; and at most one that waits for the next free worker.
        self._running: dict[Batch, float] = {}
        self._ready: Batch | None = None
        self._speed: float | None = None

    @property
    def queued_texts(self) -> int:
        """Texts that wait."""
        return len(self._by_length)

    @property
    def queued_tokens(self) -> int:
        """Tokens of the texts that wait."""
        return self._queued_tokens

    @property
    def running_batches(self) -> int:
        """Calls under way, and the one that is ready for the next free worker."""
        return len(self._running) + (self._ready is not None)

    @property
    def queued(self) -> int:
        """Requests none of whose texts has started."""
        return sum(one.phase is RequestPhase.QUEUED for one in self._live.values())

    @property
    def running(self) -> int:
        """Requests some of whose texts have started."""
        return len(self._live) - self.queued

    def submit(self, lengths: Sequence[int], now: float) -> QueuedRequest:
        """Queue a request of texts with these token counts; there is at least one.

        Raises:
            RejectedError: the queue is full; carries retry_after, from the measured speed.
            BadRequestError: status 413, the request alone is more than the queue holds.
        """
        tokens = sum(lengths)
        limit = self.policy.max_queue_tokens
        if tokens > limit:
            self.counts.rejected += 1
            raise BadRequestError(
                f"the request has {tokens} tokens and the queue holds {limit}; split it",
                status=413,
            )
        if self._queued_tokens + tokens > limit:
            self.counts.rejected += 1
            raise RejectedError(
                f"{self._queued_tokens} tokens wait already and the queue holds {limit}",
                retry_after=self._retry_after(self._queued_tokens + tokens - limit),
            )
        request = QueuedRequest(self._next_id, len(lengths))
        self._next_id += 1
        self._live[request.id] = request
        self.counts.accepted += 1
        turn = self._virtual_time
        for index, length in enumerate(lengths):
            self._enqueue(QueuedText(request, index, length, self._next_order, now), turn)
            self._next_order += 1
            turn += max(1, length)
        return request

    def next_batch(self, now: float) -> Batch | None:
        """Take the texts to run, or None: no worker needs them, or nothing is due.

        Batches are to be run in the order they are given. When every worker is busy and a full
        batch waits, one is given ahead, so that the worker that ends first goes on at once.
        """
        idle = self.policy.workers - len(self._running)
        if idle < 1 and (self._ready or self._queued_tokens < self.policy.limits.max_tokens):
            return None
        texts = self._next_retry()
        if texts is None:
            if not self._due(now):
                return None
            texts = self._take(max(1, idle))
        batch = Batch(texts)
        if idle < 1:
            self._ready = batch
        else:
            self._running[batch] = now
        for request in batch.requests:
            request.phase = RequestPhase.RUNNING
        self._virtual_time += batch.tokens / max(1, len(self._live))
        return batch

    def wake_at(self) -> float | None:
        """Return when ``next_batch`` should be asked again though nothing happened, if ever."""
        if not self._by_length or len(self._running) >= self.policy.workers:
            return None
        return self._oldest().arrived + self.policy.max_wait

    def finished(self, batch: Batch, now: float) -> list[QueuedRequest]:
        """A call gave its vectors; return the requests that are whole now."""
        self._ended(batch, now)
        self.counts.texts += len(batch.texts)
        self.counts.tokens += batch.tokens
        whole = []
        for text in batch.texts:
            text.request.remaining -= 1
            if text.request.remaining == 0 and text.request.live:
                self._leave(text.request, RequestPhase.DONE)
                self.counts.done += 1
                whole.append(text.request)
        return whole

    def failed(self, batch: Batch, now: float) -> QueuedRequest | None:
        """A call failed; return the request that failed with it, or None.

        A call for several requests is tried again request by request, so that only those whose
        own texts fail are failed.
        """
        self._ended(batch, now)
        self.counts.batch_failures += 1
        live = [request for request in batch.requests if request.live]
        if len(batch.requests) > 1:
            for request in sorted(live, key=lambda one: one.id):
                self._retries.append(tuple(t for t in batch.texts if t.request is request))
            return None
        if not live:
            return None
        self._drop(live[0])
        self._leave(live[0], RequestPhase.FAILED)
        self.counts.failed += 1
        return live[0]

    def cancel(self, request: QueuedRequest) -> bool:
        """Nobody waits for the request any more; return False when it had ended before."""
        if not request.live:
            return False
        self._drop(request)
        self._leave(request, RequestPhase.CANCELLED)
        self.counts.cancelled += 1
        return True

    def _enqueue(self, text: QueuedText, turn: float) -> None:
        heapq.heappush(self._turns, (turn, text.order, text))
        insort(self._by_length, (text.tokens, text.order, text))
        self._arrivals.append(text)
        self._queued_tokens += text.tokens

    def _due(self, now: float) -> bool:
        if not self._by_length:
            return False
        full = self._queued_tokens >= self.policy.limits.max_tokens
        return full or now - self._oldest().arrived >= self.policy.max_wait

    def _oldest(self) -> QueuedText:
        while not self._arrivals[0].waiting:
            self._arrivals.popleft()
        return self._arrivals[0]

    def _take(self, idle: int) -> tuple[QueuedText, ...]:
        while not self._turns[0][2].waiting:
            heapq.heappop(self._turns)
        seed = self._turns[0][2]
        position = bisect_left(self._by_length, (seed.tokens, seed.order))
        limits = self.policy.limits
        low = max(0, position - limits.max_texts)
        near = [entry[0] for entry in self._by_length[low : position + limits.max_texts]]
        budget = limits.share(self._queued_tokens, idle)
        window = window_around(near, position - low, limits, budget=budget)
        chosen = slice(low + window.start, low + window.stop)
        texts = tuple(entry[2] for entry in self._by_length[chosen])
        del self._by_length[chosen]
        self._release(texts)
        return texts

    def _next_retry(self) -> tuple[QueuedText, ...] | None:
        while self._retries:
            texts = self._retries.popleft()
            if texts[0].request.live:
                return texts
        return None

    def _drop(self, request: QueuedRequest) -> None:
        """Take the request's waiting texts out of the queue."""
        gone = [entry[2] for entry in self._by_length if entry[2].request is request]
        if gone:
            self._by_length = [e for e in self._by_length if e[2].request is not request]
            self._release(gone)

    def _release(self, texts: Iterable[QueuedText]) -> None:
        for text in texts:
            text.waiting = False
            self._queued_tokens -= text.tokens

    def _leave(self, request: QueuedRequest, phase: RequestPhase) -> None:
        request.phase = phase
        del self._live[request.id]

    def _ended(self, batch: Batch, now: float) -> None:
        seconds = max(now - self._running.pop(batch), 1e-6)
        if self._ready is not None:
            self._running[self._ready] = now
            self._ready = None
        counts = self.counts
        counts.batches += 1
        counts.coalesced_batches += len(batch.requests) > 1
        counts.padded_tokens += batch.padded_tokens
        counts.busy_seconds += seconds
        speed = batch.padded_tokens / seconds
        old = self._speed
        self._speed = speed if old is None else old + _SPEED_WEIGHT * (speed - old)

    def _retry_after(self, excess_tokens: int) -> float:
        """Seconds until the queue will have room for that many tokens more."""
        if self._speed is None:
            return _LEAST_RETRY_AFTER
        return max(_LEAST_RETRY_AFTER, excess_tokens / (self._speed * self.policy.workers))
