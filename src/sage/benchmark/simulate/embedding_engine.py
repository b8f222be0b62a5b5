"""An embedding engine, with the calls in which a gateway's requests reach it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sage.benchmark.simulate.engine_request import Emission, EngineLoad, EngineRequest
from sage.benchmark.simulate.profile import EmbeddingProfile
from sage.benchmark.token_log import TokenLog
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.queue import Batch, BatchQueue, QueuePolicy
from sage.inference.scheduling.coalescing import Call, CallLimits, Coalescer, Piece
from sage.inference.scheduling.instance import InstanceSpec

_NEVER = float("inf")
_UNBOUNDED = 1 << 60


class _Batches(Protocol):
    """Texts of calls that wait, and batches of them that run."""

    def submit(self, key: int, lengths: Sequence[int], now: float) -> None:
        """Take a call's texts."""
        ...

    def start(self, now: float) -> tuple[int, int] | None:
        """Start a batch if a worker is idle; return its number and its padded tokens."""
        ...

    def finish(self, number: int, now: float) -> list[int]:
        """End a batch; return the keys of calls whose texts are all done."""
        ...


class _ByLength:
    """As SAGE's own embedding server: its queue, driven as it is."""

    def __init__(self, limits: BatchLimits, workers: int) -> None:
        policy = QueuePolicy(limits, workers=workers, max_queue_tokens=_UNBOUNDED)
        self._queue = BatchQueue(policy)
        self._workers = workers
        self._keys: dict[int, int] = {}
        self._running: dict[int, Batch] = {}
        self._started = 0

    def submit(self, key: int, lengths: Sequence[int], now: float) -> None:
        """Take a call's texts."""
        self._keys[self._queue.submit(lengths, now).id] = key

    def start(self, now: float) -> tuple[int, int] | None:
        """Start a batch if a worker is idle; return its number and its padded tokens."""
        if len(self._running) >= self._workers:
            return None
        batch = self._queue.next_batch(now)
        if batch is None:
            return None
        self._started += 1
        self._running[self._started] = batch
        return self._started, batch.padded_tokens

    def finish(self, number: int, now: float) -> list[int]:
        """End a batch; return the keys of calls whose texts are all done."""
        batch = self._running.pop(number)
        whole = self._queue.finished(batch, now)
        return sorted(self._keys.pop(request.id) for request in whole)


class _AsTheyCame:
    """Batches of texts in order of arrival, whatever their lengths."""

    def __init__(self, limits: BatchLimits, workers: int) -> None:
        self._limits = limits
        self._workers = workers
        self._waiting: deque[tuple[int, int]] = deque()
        self._left: dict[int, int] = {}
        self._running: dict[int, list[int]] = {}
        self._started = 0

    def submit(self, key: int, lengths: Sequence[int], now: float) -> None:  # noqa: ARG002 - as _ByLength
        """Take a call's texts."""
        self._left[key] = len(lengths)
        self._waiting.extend((key, length) for length in lengths)

    def start(self, now: float) -> tuple[int, int] | None:  # noqa: ARG002 - as _ByLength
        """Start a batch if a worker is idle; return its number and its padded tokens."""
        waiting, limits = self._waiting, self._limits
        if not waiting or len(self._running) >= self._workers:
            return None
        keys: list[int] = []
        longest = 0
        while waiting and len(keys) < limits.max_texts:
            longer = max(longest, waiting[0][1])
            if keys and longer * (len(keys) + 1) > limits.max_tokens:
                break
            longest = longer
            keys.append(waiting.popleft()[0])
        self._started += 1
        self._running[self._started] = keys
        return self._started, longest * len(keys)

    def finish(self, number: int, now: float) -> list[int]:  # noqa: ARG002 - as _ByLength
        """End a batch; return the keys of calls whose texts are all done."""
        whole = []
        for key in self._running.pop(number):
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key]
                whole.append(key)
        return whole


class EmbeddingEngine:
    """Batches of padded texts on a few workers, behind the gateway's own coalescing.

    Requests become calls as in the gateway: those that wait for a free call share one, large ones
    are cut. A batch takes the same for each padded token and something for itself.

    Args:
        profile: times and limits.
        spec: what the scheduler is told of it; its ``coalesce`` and call limits are kept to.
        lag: seconds between gateway and engine, one way.
    """

    def __init__(self, profile: EmbeddingProfile, spec: InstanceSpec, *, lag: float = 0.0) -> None:
        self.spec = spec
        self.log: TokenLog | None = None
        self._call_s, self._token_s = profile.call_ms / 1000, profile.token_ms / 1000
        self._in, self._out = lag + profile.h_in / 1000, lag + profile.h_out / 1000
        limits = BatchLimits(
            max_tokens=profile.max_tokens,
            max_texts=profile.max_texts,
            call_overhead_tokens=round(profile.call_ms / profile.token_ms),
        )
        kind = _ByLength if profile.by_length else _AsTheyCame
        self._batches: _Batches = kind(limits, profile.workers)
        most = spec.max_calls if spec.coalesce else _UNBOUNDED
        self._bus = Coalescer(CallLimits(spec.max_inputs, spec.max_batch_tokens, most))
        self._requests: dict[int, tuple[EngineRequest, list[Piece]]] = {}
        self._left: dict[int, int] = {}
        self._calls: dict[int, Call] = {}
        self._next = 0
        self._events: list[tuple[float, int, Callable[[float, int], Emission | None], int]] = []

    @property
    def wake(self) -> float:
        """When `step` is due, in seconds."""
        return self._events[0][0] if self._events else _NEVER

    def refuses(self, request: EngineRequest) -> str:  # noqa: ARG002 - an LLM engine may
        """Return why it cannot serve the request; there is nothing that it refuses."""
        return ""

    def submit(self, request: EngineRequest, now: float) -> None:
        """Take a request that the gateway sends now."""
        lengths = [request.prompt] * request.texts
        pieces = self._bus.submit(request.id, lengths, request.priority, now)
        self._requests[request.id] = request, pieces
        self._left[request.id] = len(pieces)
        self._pump(now)

    def cancel(self, request: EngineRequest, now: float) -> None:
        """Give up a request: what waits of it goes; what is on the wire is computed still."""
        request.over = True
        for piece in self._requests.pop(request.id)[1]:
            self._bus.drop(piece)
        del self._left[request.id]
        self._pump(now)

    def step(self) -> Emission | None:
        """Go on at `wake`; return what this makes leave the engine."""
        now, _, event, number = heapq.heappop(self._events)
        return event(now, number)

    def load(self) -> EngineLoad | None:
        """Tell nothing: embedding servers' pages hold none of the figures that are known."""
        return None

    def _at(
        self, moment: float, event: Callable[[float, int], Emission | None], number: int
    ) -> None:
        self._next += 1
        heapq.heappush(self._events, (moment, self._next, event, number))

    def _pump(self, now: float) -> None:
        while (call := self._bus.next_call(now)) is not None:
            self._next += 1
            self._calls[self._next] = call
            self._at(now + self._in, self._arrives, self._next)

    def _arrives(self, now: float, number: int) -> None:
        call = self._calls[number]
        tokens = [dict(zip(piece.positions, piece.lengths, strict=True)) for piece in call.pieces]
        lengths = [tokens[piece][position] for piece, position in call.inputs()]
        self._batches.submit(number, lengths, now)
        self._start(now)

    def _start(self, now: float) -> None:
        while (batch := self._batches.start(now)) is not None:
            number, padded = batch
            self._at(now + self._call_s + self._token_s * padded, self._computed, number)

    def _computed(self, now: float, number: int) -> None:
        for call in self._batches.finish(number, now):
            self._at(now + self._out, self._answered, call)
        self._start(now)

    def _answered(self, now: float, number: int) -> Emission | None:
        """The gateway has a call's answer, and the place of the call is free."""
        call = self._calls.pop(number)
        self._bus.ended(call)
        ended = []
        for piece in call.pieces:
            if piece.request_id not in self._left:
                continue
            self._left[piece.request_id] -= 1
            if not self._left[piece.request_id]:
                del self._left[piece.request_id]
                ended.append(self._requests.pop(piece.request_id)[0])
        self._pump(now)
        return Emission(now, (), ended) if ended else None
