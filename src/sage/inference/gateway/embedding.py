"""Embedding calls to one instance: several requests in one, or one request in several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from sage.errors import UpstreamError
from sage.inference.gateway.asgi import Headers
from sage.inference.gateway.embedding_bodies import (
    Answer,
    Assembly,
    Question,
    Row,
    read_answer,
    read_question,
    split_usage,
    write_body,
)
from sage.inference.gateway.errors import ConnectionBrokenError, MalformedResponseError
from sage.inference.gateway.headers import RequestHead
from sage.inference.gateway.response import UpstreamResponse, whole_response
from sage.inference.scheduling.coalescing import Call, CallLimits, Coalescer, Piece
from sage.inference.scheduling.instance import InstanceSpec

if TYPE_CHECKING:
    from sage.inference.gateway.backend import Backend
    from sage.inference.gateway.exchange import Exchange

TARGET = b"/v1/embeddings"

# Headers that tell of one client and do not change the answer: requests that differ in them may
# share a call, which then carries none of them. Its answer must not come compressed either.
_OF_ONE_CLIENT = (
    b"user-agent:",
    b"accept-encoding:",
    b"traceparent:",
    b"tracestate:",
    b"baggage:",
    b"forwarded:",
    b"via:",
    b"x-forwarded-",
    b"x-real-ip:",
    b"x-stainless-",
)
_FRAMING = (b"content-length", b"transfer-encoding", b"content-encoding", b"content-type")
# What an engine says of all who share a call alike; any other refusal may be for one input alone.
_OF_ALL = frozenset({401, 403, 404, 408, 429})


@dataclass(slots=True)
class BusCounts:
    """What has gone to an instance.

    Attributes:
        requests: plain embedding requests; the others go as they come and are not counted here.
        calls: HTTP requests made for them.
        shared: requests that were joined with others in a call.
        split: requests that were cut into several calls.
        resent: requests sent again by themselves, since a call that they shared was refused.
    """

    requests: int = 0
    calls: int = 0
    shared: int = 0
    split: int = 0
    resent: int = 0


@dataclass(slots=True, eq=False)
class _Rider:
    """A request whose answer comes from calls.

    Its future gives the answer; or None, which tells it to send itself as it came.
    """

    exchange: Exchange
    question: Question
    stop: _Stop
    future: asyncio.Future[UpstreamResponse | None]
    assembly: Assembly
    pieces: list[Piece] = field(default_factory=list)
    trips: set[_Trip] = field(default_factory=set)
    granted: Call | None = None

    def answer(self, response: UpstreamResponse | None) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class _Stop:
    """Where requests that may share calls wait.

    Attributes:
        key: what they have in common.
        head: the headers that a shared call carries.
        core: says who goes when.
        riders: those that wait or are on the wire, by the scheduler's id.
    """

    key: tuple[object, ...]
    head: RequestHead
    core: Coalescer
    riders: dict[int, _Rider] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Trip:
    """One call on the wire that is not simply a request as it came.

    Attributes:
        call: what it carries.
        riders: those of its pieces, in their order.
        aboard: those who still want it.
        bounded: whether it holds one of the stop's calls; what is resent does not.
        task: makes it.
    """

    call: Call
    riders: list[_Rider]
    aboard: set[_Rider]
    bounded: bool
    task: asyncio.Task[None] | None = None

    def leader_first(self) -> list[_Rider]:
        """Return who is aboard; what becomes of the call is counted as the first one's."""
        riders = [rider for rider in dict.fromkeys(self.riders) if rider in self.aboard]
        for number, rider in enumerate(riders):
            rider.exchange.follows = number > 0
        return riders

    def fail(self, error: BaseException) -> None:
        """Nothing came of it."""
        for rider in self.leader_first():
            rider.fail(error)


class EmbeddingBus:
    """Carries the embedding requests that one instance has been given.

    Requests alike in everything but their inputs (model, other fields, tenant, key, headers) share
    calls when they have to wait for one. The scheduler counts and bounds requests, this bounds the
    calls. A request that goes alone goes byte for byte, and so does its answer.

    Args:
        backend: the instance.
        spec: its limits.
        clock: seconds, monotonic.
        idle_timeout: seconds an engine may be silent once it has begun to answer.

    Attributes:
        counts: what has gone.
    """

    def __init__(
        self,
        backend: Backend,
        spec: InstanceSpec,
        clock: Callable[[], float],
        idle_timeout: float,
    ) -> None:
        self.counts = BusCounts()
        self._backend = backend
        self._limits = CallLimits(spec.max_inputs, spec.max_batch_tokens, spec.max_calls)
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._stops: dict[tuple[object, ...], _Stop] = {}

    def snapshot(self) -> dict[str, int]:
        """Return the counts, and how many requests wait or are on the wire now."""
        riding = sum(len(stop.riders) for stop in self._stops.values())
        return {**asdict(self.counts), "riding": riding}

    async def request(
        self, exchange: Exchange, target: bytes, head: RequestHead, body: bytes
    ) -> UpstreamResponse:
        """Send a request, by itself or with others, and return the instance's answer to it.

        Args:
            exchange: whose request; its ``follows`` is set when the attempt is another's too.
            target: path and query.
            head: the client's.
            body: the client's.

        Raises:
            UpstreamError: as Upstream.request; nothing of the answer has been passed on then.
        """
        exchange.follows = False
        question = read_question(body) if target == TARGET else None
        if question is None:
            return await self._send(exchange.request_id, target, head, body)
        rider = self._take_in(exchange, question, head)
        try:
            response = await rider.future
            if response is None:
                exchange.follows = False
                self.counts.calls += 1
                response = await self._send(exchange.request_id, target, head, body)
            return response
        finally:
            self._leave(rider)

    async def _send(
        self, request_id: bytes, target: bytes, head: RequestHead, body: bytes
    ) -> UpstreamResponse:
        backend = self._backend
        lines = backend.request_head(target, head, request_id, len(body))
        return await backend.upstream.request(lines, body)

    # Getting on and off

    def _take_in(self, exchange: Exchange, question: Question, head: RequestHead) -> _Rider:
        common = RequestHead(
            _common_lines(head.lines), authorization=head.authorization, api_key=head.api_key
        )
        rendered = self._backend.request_head(TARGET, common, b"", 0)
        key = (exchange.tenant, rendered, question.key)
        stop = self._stops.get(key)
        if stop is None:
            stop = self._stops[key] = _Stop(key, common, Coalescer(self._limits))
        rider = _Rider(
            exchange,
            question,
            stop,
            asyncio.get_running_loop().create_future(),
            Assembly(len(question.inputs)),
        )
        stop.riders[exchange.id] = rider
        rider.pieces = stop.core.submit(
            exchange.id, question.lengths, exchange.terms.priority, self._clock()
        )
        self.counts.requests += 1
        self.counts.split += len(rider.pieces) > 1
        self._pump(stop)
        return rider

    def _leave(self, rider: _Rider) -> None:
        """Its request is over, or has been given up: nothing is done for it any more."""
        stop = rider.stop
        del stop.riders[rider.exchange.id]
        for piece in rider.pieces:
            stop.core.drop(piece)
        for trip in rider.trips:
            trip.aboard.discard(rider)
            if not trip.aboard and trip.task is not None:
                trip.task.cancel()
        if rider.granted is not None:
            stop.core.ended(rider.granted)
        if rider.future.done() and not rider.future.cancelled():
            rider.future.exception()  # it may have come when nobody waited any more
        self._pump(stop)

    def _pump(self, stop: _Stop) -> None:
        now = self._clock()
        while (call := stop.core.next_call(now)) is not None:
            riders = [stop.riders[piece.request_id] for piece in call.pieces]
            if call.alone:
                riders[0].granted = call
                riders[0].answer(None)
            else:
                if len(riders) > 1:
                    self.counts.shared += sum(piece.whole for piece in call.pieces)
                self._start(_Trip(call, riders, set(riders), bounded=True))
        if not stop.riders and not stop.core.running and self._stops.get(stop.key) is stop:
            del self._stops[stop.key]

    # Calls

    def _start(self, trip: _Trip) -> None:
        for rider in trip.riders:
            rider.trips.add(trip)
        self.counts.calls += 1
        trip.task = asyncio.create_task(self._travel(trip))
        trip.task.add_done_callback(partial(self._end, trip))

    async def _travel(self, trip: _Trip) -> None:
        order = trip.call.inputs()
        first = trip.riders[0]
        body = write_body(
            first.question.fields,
            [trip.riders[number].question.inputs[position] for number, position in order],
        )
        try:
            response = await self._send(first.exchange.request_id, TARGET, first.stop.head, body)
            data = await self._read(response)
        except UpstreamError as error:
            trip.fail(error)
        else:
            self._arrive(trip, order, response, data)

    def _end(self, trip: _Trip, task: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before it begins runs none of its code.
        if not task.cancelled() and (error := task.exception()) is not None:
            trip.fail(error)
        stop = trip.riders[0].stop
        for rider in trip.riders:
            rider.trips.discard(trip)
        if trip.bounded:
            stop.core.ended(trip.call)
        self._pump(stop)

    async def _read(self, response: UpstreamResponse) -> bytes:
        parts: list[bytes] = []
        try:
            while not response.complete or response.buffered:
                async with asyncio.timeout(self._idle_timeout):
                    parts.append(await response.read())
        except TimeoutError:
            raise ConnectionBrokenError(
                "the engine fell silent in the middle of its answer"
            ) from None
        finally:
            response.abort()
        return b"".join(parts)

    def _arrive(
        self,
        trip: _Trip,
        order: Sequence[tuple[int, int]],
        response: UpstreamResponse,
        data: bytes,
    ) -> None:
        several = len(trip.call.pieces) > 1
        if response.status == 200:
            answer = read_answer(data, len(order))
            if answer is not None:
                self._hand_out(trip, order, answer, response.headers)
            elif several:
                self._resend(trip)
            else:
                trip.fail(MalformedResponseError("its answer holds not one embedding an input"))
        elif several and _may_be_for_one(response.status):
            self._resend(trip)
        else:
            for rider in trip.leader_first():
                rider.answer(whole_response(response.status, response.headers, data))

    def _hand_out(
        self,
        trip: _Trip,
        order: Iterable[tuple[int, int]],
        answer: Answer,
        headers: Headers,
    ) -> None:
        pieces = trip.call.pieces
        positions: list[list[int]] = [[] for _ in pieces]
        rows: list[list[Row]] = [[] for _ in pieces]
        for (number, position), row in zip(order, answer.rows, strict=True):
            positions[number].append(position)
            rows[number].append(row)
        usages = split_usage(answer.usage, [piece.tokens for piece in pieces])
        for number, rider in enumerate(trip.riders):
            rider.assembly.add(answer.fields, positions[number], rows[number], usages[number])
        for rider in trip.leader_first():
            if rider.assembly.complete:
                body = rider.assembly.body()
                rider.answer(whole_response(200, _answer_headers(headers, len(body)), body))

    def _resend(self, trip: _Trip) -> None:
        """Ask for each piece by itself: a refusal then reaches only the one it is meant for."""
        for piece, rider in zip(trip.call.pieces, trip.riders, strict=True):
            if rider not in trip.aboard:
                continue
            self.counts.resent += 1
            if piece.whole:
                rider.answer(None)
            else:
                self._start(_Trip(Call(piece.lane, (piece,)), [rider], {rider}, bounded=False))


def _may_be_for_one(status: int) -> bool:
    return status == 500 or (400 <= status < 500 and status not in _OF_ALL)


@lru_cache(maxsize=128)
def _common_lines(lines: bytes) -> bytes:
    """Return a client's header lines that a shared call carries."""
    kept = [line for line in lines.splitlines(True) if not line.lower().startswith(_OF_ONE_CLIENT)]
    return b"".join(kept)


def _answer_headers(headers: Headers, size: int) -> Headers:
    """Return the headers of an answer put together from an engine's, with its own length."""
    kept = [item for item in headers if item[0] not in _FRAMING]
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % size), *kept]
