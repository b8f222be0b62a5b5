"""One inference request from its arrival to its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from sage.inference.gateway.asgi import ClientLink, Receive, Scope, Send
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.errors import InstanceLostError
from sage.inference.gateway.plan import RequestPlan
from sage.inference.gateway.response import UpstreamResponse
from sage.inference.gateway.terms import NO_TERMS, Terms
from sage.inference.scheduling.decision import Decision
from sage.inference.scheduling.request import Kind
from sage.inference.scheduling.slo import SLO


class Outcome(Enum):
    """How a request ended; each ends in exactly one way."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Interruption(Enum):
    """Why the gateway stopped a request from outside."""

    CLIENT_GONE = "the client left"
    TIMEOUT = "the request took too long"
    STALLED = "the engine fell silent"
    ABORTED = InstanceLostError.reason


class Lane(Protocol):
    """Serves requests without tasks (``Express``)."""

    def arrived(self, exchange: Exchange, response: UpstreamResponse) -> None:
        """Take in what came from the engine, or that nothing will."""

    def interrupted(self, exchange: Exchange) -> None:
        """Stop serving it."""

    def dropped(self, exchange: Exchange) -> None:
        """End it at once: nothing runs any more that could go on with it."""


@dataclass(slots=True, eq=False)
class Sent:
    """A request on its way to an engine.

    Attributes:
        backend: the engine's instance.
        response: its answer, as far as it has come.
        plan: of the request's head.
        head, body: as they were sent.
    """

    backend: Backend
    response: UpstreamResponse
    plan: RequestPlan
    head: bytes
    body: bytes


@dataclass(slots=True, eq=False)
class Exchange:
    """A request's state.

    Attributes:
        id: the scheduler's id for it.
        scope, receive, send: ASGI's, of this request.
        task: the task that serves it, if there is one; an interruption cancels it.
        lane: serves it in the absence of a task, and is told of an interruption.
        sent: what the lane has sent to an engine and waits for.
        arrived: when its head came, in seconds of the gateway's clock.
        deadline: when it is interrupted for taking too long; None means at no time.
        request_id: X-Request-ID.
        reading: whether its body is still being read.
        scheduled: whether the scheduler holds it.
        decision: the scheduler's latest about it, until it is acted on.
        kind, model: what it was submitted as.
        instance_id: where it was dispatched last; empty before that.
        tried: every instance it was dispatched to.
        resent: whether it was sent to another instance after one had seen it.
        follows: whether its attempt is part of a call that is counted as another exchange's.
        known: whether a model that is served took it.
        terms: how urgent it is, and the objectives it came with.
        slo: its objectives, or its class's.
        tenant: whose key it came with; empty without keys.
        submitted_at, dispatched_at, first_byte_at, settled_at: when its body had come, it first
            went to an instance, the client got the first bytes, and it was settled; 0 for not.
        has_usage, prompt_tokens, completion_tokens: what the engine stated.
        causes: why each instance tried could not be reached.
        backend: the instance whose answer is passed on.
        response: the engine's, once its head has come.
        started: whether the client has got a status.
        status: of the gateway's own answer; 0 while there is none.
        streamed: whether the response is an event stream.
        outcome: how it ended; set once nothing is left but to tell the client.
        ended: whether the client has been told.
        interruption: why it is being stopped.
        watcher: waits for the client to leave; started for requests that last, where the server
            does not tell.
        client: the server's link to the client, where it offers one.
    """

    id: int
    scope: Scope
    receive: Receive
    send: Send
    task: asyncio.Task[None] | None
    arrived: float
    deadline: float | None
    request_id: bytes
    reading: bool = True
    scheduled: bool = False
    decision: Decision | None = None
    kind: Kind | None = None
    model: str = ""
    instance_id: str = ""
    tried: list[str] = field(default_factory=list)
    resent: bool = False
    follows: bool = False
    known: bool = False
    terms: Terms = NO_TERMS
    slo: SLO | None = None
    tenant: str = ""
    submitted_at: float = 0.0
    dispatched_at: float = 0.0
    first_byte_at: float = 0.0
    settled_at: float = 0.0
    has_usage: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    causes: list[str] = field(default_factory=list)
    backend: Backend | None = None
    response: UpstreamResponse | None = None
    started: bool = False
    status: int = 0
    streamed: bool = False
    outcome: Outcome | None = None
    ended: bool = False
    interruption: Interruption | None = None
    watcher: asyncio.Task[None] | None = None
    client: ClientLink | None = None
    lane: Lane | None = None
    sent: Sent | None = None
    seen: tuple[int, float] = (0, 0.0)
    _waiter: asyncio.Future[None] | None = None

    @property
    def queue_ms(self) -> bytes:
        """How long it waited for its first dispatch, for a header."""
        return b"%.3f" % (max(0.0, self.dispatched_at - self.submitted_at) * 1000)

    def take_decision(self) -> Decision | None:
        """Take the scheduler's decision, if there is one yet."""
        decision, self.decision = self.decision, None
        return decision

    async def decided(self) -> Decision:
        """Wait for the scheduler's decision and take it."""
        while True:
            decision = self.take_decision()
            if decision is not None:
                return decision
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def decide(self, decision: Decision) -> None:
        """Hand over the scheduler's decision."""
        self.decision = decision
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def interrupt(self, why: Interruption) -> None:
        """Stop the request wherever it waits; nothing happens once it has ended."""
        if not self.ended and self.interruption is None:
            self.interruption = why
            if self.task is not None:
                self.task.cancel()
            elif self.lane is not None:
                self.lane.interrupted(self)

    def arrived_from(self, response: UpstreamResponse) -> None:
        """Let the lane that sent it take in what came from the engine."""
        if self.lane is not None:
            self.lane.arrived(self, response)

    def watch(self) -> None:
        """Start waiting for the client to leave, once the body has been read."""
        if self.watcher is None and self.client is None and not self.reading:
            self.watcher = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            continue
        self.gone()

    def gone(self) -> None:
        """The client has left."""
        self.interrupt(Interruption.CLIENT_GONE)

    def stalled(self, now: float, limit: float) -> bool:
        """Whether the engine began its answer and has sent nothing for ``limit`` seconds.

        Bytes that arrived and wait for a slow client do not count as the engine's silence.
        """
        response = self.response
        if response is None or response.complete or response.buffered:
            self.seen = (0, now)
            return False
        if response.arrivals != self.seen[0]:
            self.seen = (response.arrivals, now)
            return False
        return now - self.seen[1] >= limit
