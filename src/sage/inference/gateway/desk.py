"""Where requests stand: the gateway's open exchanges, their counts, and the scheduler's word."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sage.inference.gateway.asgi import CLIENT_EXTENSION, Receive, Scope, Send
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.edge import Edge
from sage.inference.gateway.exchange import Exchange, Interruption, Lane, Outcome
from sage.inference.gateway.failover import ResendBudget
from sage.inference.gateway.keys import KeyRing
from sage.inference.gateway.limits import GatewayLimits
from sage.inference.gateway.metrics import Metrics
from sage.inference.gateway.plan import RequestPlan
from sage.inference.gateway.reply import Reply
from sage.inference.gateway.usage import find_usage
from sage.inference.scheduling.decision import Decision, Reject
from sage.inference.scheduling.request import Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO

_TICK = 0.25
_TAIL = 4096
_SHORTEST_NAP = 0.002


@dataclass(slots=True)
class Tally:
    """Inference requests by how they ended: received = their sum + those open."""

    received: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    rejected: int = 0


class Learner(Protocol):
    """Learns request heads (``Express``)."""

    def learn(self, plan: RequestPlan, message: bytes) -> None:
        """Know the head of this whole request again."""


class Desk:
    """Keeps every open exchange, carries out the scheduler's decisions, and counts ends.

    One timer a gateway, not one a request: a few times a second it looks at the open exchanges,
    interrupts those past their deadline, and starts to watch for the client of each that lasts.
    So a request that is answered at once costs neither a timer nor a task.

    Args:
        scheduler: the core.
        limits: in time and size.
        clock: seconds, monotonic.
        budget: of requests sent to a second instance.

    Attributes:
        metrics: of the requests that have ended.
        keys: that requests need.
        slo_classes: objectives of the requests that name none, by class.
        express: learns which requests can be served without a task; None where none is.
        edge: rate limits, access log and tracing; None where none of them is configured.
        on_tick: called with the time a few times a second while there is work, and before the
            first request after a rest.
        on_attempt_failed: called when an attempt ends in a connection error or a 5xx answer.
        on_attempt_answered: called when an instance whose breaker is watchful has answered.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        limits: GatewayLimits,
        clock: Callable[[], float],
        budget: ResendBudget,
    ) -> None:
        self.scheduler = scheduler
        self.limits = limits
        self.clock = clock
        self.backends: dict[str, Backend] = {}
        self.tally = Tally()
        self.budget = budget
        self.metrics = Metrics()
        self.keys = KeyRing()
        self.slo_classes: Mapping[str, SLO] = {}
        self.edge: Edge | None = None
        self.express: Learner | None = None
        self._wake: asyncio.TimerHandle | None = None
        self.on_tick: Callable[[float], None] = lambda _: None
        self.on_attempt_failed: Callable[[Backend, float, str], None] = lambda *_: None
        self.on_attempt_answered: Callable[[Backend, float], None] = lambda *_: None
        self._open: dict[int, Exchange] = {}
        self._drains: dict[str, asyncio.Event] = {}
        self._ids = itertools.count(1)
        self._id_prefix = f"req-{secrets.token_hex(6)}-"
        self._timer: asyncio.TimerHandle | None = None
        # Asking asyncio for the running loop costs a system call; it is asked once a run.
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open(self) -> int:
        """How many exchanges have not ended."""
        return len(self._open)

    # An exchange's life

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """Open an exchange for a request that has arrived."""
        exchange = self._new_exchange(scope, receive, send)
        exchange.task = asyncio.current_task(self._loop)
        extensions = scope.get("extensions")
        if extensions and (client := extensions.get(CLIENT_EXTENSION)) is not None:
            exchange.client = client
            client.on_gone = exchange.gone
        return exchange

    def begin_express(self, scope: Scope, reply: Reply, lane: Lane) -> Exchange:
        """Open an exchange for a request that has arrived whole, to be served without a task."""
        exchange = self._new_exchange(scope, reply.receive, reply.send)
        exchange.lane = lane
        exchange.client = reply
        reply.on_gone = exchange.gone
        self.body_read(exchange)
        return exchange

    def _new_exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        number = next(self._ids)
        now = self.clock()
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._arm()
            self.on_tick(now)
        exchange = Exchange(
            number,
            scope,
            receive,
            send,
            None,
            now,
            now + self.limits.body_timeout,
            f"{self._id_prefix}{number:x}".encode(),
        )
        self._open[number] = exchange
        self.tally.received += 1
        self.budget.earn()
        return exchange

    def body_read(self, exchange: Exchange) -> None:
        """Note that the client has sent everything: the request's own time limit begins."""
        assert exchange.deadline is not None
        exchange.reading = False
        exchange.deadline += self.limits.request_timeout - self.limits.body_timeout

    def submit(self, exchange: Exchange, request: Request) -> None:
        """Hand the request to the scheduler."""
        exchange.scheduled = exchange.known = True
        exchange.submitted_at = request.arrived
        self.apply(self.scheduler.submit(request, request.arrived))
        if exchange.decision is None:
            self._wake_up_in_time()

    def undelivered(self, exchange: Exchange) -> None:
        """Its instance could not be reached: let the scheduler choose another."""
        self.apply(self.scheduler.undelivered(exchange.id, self.clock()))

    def attempt_failed(self, backend: Backend, reason: str) -> None:
        """An attempt ended in a connection error or a 5xx answer."""
        self.on_attempt_failed(backend, self.clock(), reason)

    def attempt_answered(self, backend: Backend) -> None:
        """An attempt was answered with anything else."""
        if backend.breaker.watchful:
            self.on_attempt_answered(backend, self.clock())

    def send_elsewhere(self, exchange: Exchange, cause: str) -> bool:
        """Its instance failed before the client got a byte: try one more, once, if there is one.

        False leaves all as it is: the request was sent again before, no other instance is up, or
        the budget is used up.
        """
        if exchange.resent or not self._has_alternative(exchange) or not self.budget.spend():
            return False
        exchange.resent = True
        exchange.causes.append(f"{exchange.instance_id}: {cause}")
        self.undelivered(exchange)
        return True

    def _has_alternative(self, exchange: Exchange) -> bool:
        return any(
            state.up
            and state.spec.kind is exchange.kind
            and exchange.model in state.spec.models
            and state.spec.id not in exchange.tried
            for state in self.scheduler.instances()
        )

    def first_token(self, exchange: Exchange) -> None:
        """The first bytes of its stream have come."""
        self.apply(self.scheduler.first_token(exchange.id, exchange.first_byte_at))

    def usage(self, exchange: Exchange, before: bytes, last: bytes) -> None:
        """Note the tokens the engine states at the end of its answer.

        Args:
            exchange: whose.
            before: the piece before the last; a stream's usage event may be split over both.
            last: the last piece of the body.
        """
        found = find_usage(before[-_TAIL:] + last if before else last)
        if found is not None:
            exchange.has_usage = True
            exchange.prompt_tokens, exchange.completion_tokens = found
            self.apply(self.scheduler.usage(exchange.id, *found, self.clock()))

    def apply(self, decisions: Iterable[Decision]) -> None:
        """Hand each decision to the exchange it is about."""
        for decision in decisions:
            exchange = self._open[decision.request_id]
            if isinstance(decision, Reject):
                exchange.scheduled = False
                exchange.known = decision.status != 404
            exchange.decide(decision)

    def settle(self, exchange: Exchange, outcome: Outcome) -> None:
        """Fix how it ended and free its slot and connection; only the first call counts.

        The client may still have to take what is left, within the exchange's deadline.
        """
        if exchange.outcome is not None:
            return
        exchange.outcome = outcome
        exchange.settled_at = self.clock()
        if exchange.response is not None:
            exchange.response.abort()
        if exchange.scheduled:
            self._tell_scheduler(exchange, outcome)
            if self._drains:
                self._check_drains()

    def end(self, exchange: Exchange) -> None:
        """Forget an exchange and count it by its outcome."""
        exchange.ended = True
        del self._open[exchange.id]
        if exchange.watcher is not None:
            exchange.watcher.cancel()
        self.metrics.ended(exchange)
        if self.edge is not None:
            self.edge.ended(exchange)
        tally = self.tally
        outcome = exchange.outcome
        if outcome is Outcome.DONE:
            tally.done += 1
        elif outcome is Outcome.FAILED:
            tally.failed += 1
        elif outcome is Outcome.CANCELLED:
            tally.cancelled += 1
        else:
            tally.rejected += 1

    def _tell_scheduler(self, exchange: Exchange, outcome: Outcome) -> None:
        now = exchange.settled_at
        if outcome is Outcome.DONE:
            decisions = self.scheduler.finished(exchange.id, now)
        elif outcome is Outcome.CANCELLED or self.scheduler.waiting(exchange.id):
            decisions = self.scheduler.cancel(exchange.id, now)
        else:
            decisions = self.scheduler.failed(exchange.id, now)
        self.apply(decisions)

    async def drained(self, instance_id: str) -> None:
        """Wait until the instance runs nothing."""
        if self.scheduler.instance(instance_id).running:
            event = self._drains.setdefault(instance_id, asyncio.Event())
            await event.wait()

    def _check_drains(self) -> None:
        for instance_id in list(self._drains):
            if not self.scheduler.instance(instance_id).running:
                self._drains.pop(instance_id).set()

    def interrupt(self, instance_id: str) -> None:
        """Interrupt every exchange that runs on the instance."""
        for request_id in list(self.scheduler.instance(instance_id).running):
            self._open[request_id].interrupt(Interruption.ABORTED)

    # Time

    def _wake_up_in_time(self) -> None:
        """Look at what waits when the scheduler wants to, if that is before the next tick."""
        if self._wake is not None or self._loop is None:
            return
        now = self.clock()
        wake = self.scheduler.next_wake(now)
        if wake is not None and wake - now < _TICK:
            self._wake = self._loop.call_later(max(_SHORTEST_NAP, wake - now), self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.apply(self.scheduler.tick(self.clock()))
        self._wake_up_in_time()

    def stop(self) -> None:
        """End what no task serves, and stop the timers; the next request starts them again."""
        for exchange in list(self._open.values()):
            if exchange.lane is not None:
                exchange.lane.dropped(exchange)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        now = self.clock()
        self.on_tick(now)
        for exchange in list(self._open.values()):
            self._look_at(exchange, now)
        for backend in self.backends.values():
            backend.upstream.expire()
        self.apply(self.scheduler.tick(now))
        if self._open or any(backend.upstream.idle for backend in self.backends.values()):
            self._arm()
        else:
            self._timer = None

    def _look_at(self, exchange: Exchange, now: float) -> None:
        if exchange.deadline is not None and now >= exchange.deadline:
            exchange.interrupt(Interruption.TIMEOUT)
        elif exchange.stalled(now, self.limits.idle_timeout):
            exchange.interrupt(Interruption.STALLED)
        else:
            exchange.watch()
