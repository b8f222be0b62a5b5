"""The short way of a plain request: from its bytes to its answer's without a task."""

from __future__ import annotations

import logging
from dataclasses import replace

from sage.errors import SageError
from sage.inference.gateway import proxy
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.bodies import RoutingFields, decode_fields
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.exchange import Exchange, Outcome, Sent
from sage.inference.gateway.known_heads import KnownHeads
from sage.inference.gateway.plan import RequestPlan
from sage.inference.gateway.reply import Reply
from sage.inference.gateway.response import UpstreamResponse
from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.gateway")


class Express:
    """Serves requests whose heads are known, for as long as nothing has to be waited for twice.

    Most requests are plain: the head was seen before, the scheduler dispatches them at once, a
    connection to the engine is idle, and the answer comes in one piece. Served by callbacks, such
    a request needs no task, no future and no turn of the event loop of its own, which is half of
    what it costs by coroutines. Whatever is not plain goes on in ``proxy`` from where it stands,
    so every rule for queues, failures, streams and clients that leave is written there, once.

    Args:
        desk: where requests stand.

    Attributes:
        plans: what known heads ask for.
        served: requests it has taken.
    """

    def __init__(self, desk: Desk) -> None:
        self.served = 0
        self._desk = desk
        self.plans: KnownHeads[RequestPlan] = KnownHeads()

    def learn(self, plan: RequestPlan, message: bytes) -> None:
        """Know the head of this whole request again, if requests with it can go this way."""
        if plan.route.kinds == (Kind.LLM,) and plan.repeatable and self._open:
            # Without the connection that it came by, which is not to be kept for it.
            scope = {key: item for key, item in plan.scope.items() if key != "extensions"}
            self.plans.learn(message, replace(plan, scope=scope))

    @property
    def _open(self) -> bool:
        """Whether nothing is configured that looks into each request."""
        edge = self._desk.edge
        return edge is None or not edge.admits

    def serve(self, reply: Reply, plan: RequestPlan, body: bytes) -> bool:
        """Serve a request, or return False when it must be parsed and served the long way.

        Args:
            reply: to the client.
            plan: of its head.
            body: whole.
        """
        desk = self._desk
        if plan.keys is not desk.keys:
            self.plans.clear()
            return False
        if not self._open or len(body) > desk.limits.max_body_bytes:
            return False
        try:
            fields = decode_fields(body)
        except ApiError:
            return False
        if not fields.model:
            return False
        self.served += 1
        exchange = desk.begin_express(plan.scope, reply, self)
        try:
            self._submit(exchange, plan, fields, body)
        except Exception as error:  # noqa: BLE001 - the event loop would only drop the connection
            self._fail(exchange, error)
        return True

    def _submit(
        self, exchange: Exchange, plan: RequestPlan, fields: RoutingFields, body: bytes
    ) -> None:
        desk = self._desk
        exchange.tenant, exchange.terms = plan.tenant, plan.terms
        exchange.model, exchange.kind = fields.model or "", Kind.LLM
        proxy.submit(desk, exchange, fields, body)
        decision = exchange.decision
        if isinstance(decision, Dispatch):
            backend = desk.backends[decision.instance_id]
            if not (backend.priorities or backend.bus is not None):
                head = backend.request_head(plan.target, plan.head, exchange.request_id, len(body))
                response = backend.upstream.send_now(head, body)
                if response is not None:
                    exchange.decision = None
                    proxy.note_dispatch(desk, exchange, backend)
                    exchange.sent = Sent(backend, response, plan, head, body)
                    response.listener = exchange.arrived_from
                    return
        self._go_on(exchange, plan, body, None)

    def arrived(self, exchange: Exchange, response: UpstreamResponse) -> None:
        """Take in what came from the engine, or that nothing will."""
        if not (response.complete or response.status or response.failed):
            return
        sent = exchange.sent
        assert sent is not None
        exchange.sent = response.listener = None
        known = response.known
        if known is None or not response.complete or not known.plain:
            self._go_on(exchange, sent.plan, sent.body, sent)
            return
        try:
            self._deliver(exchange, sent.backend, response, known.lines)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(exchange, error)

    def _deliver(
        self, exchange: Exchange, backend: Backend, response: UpstreamResponse, lines: bytes
    ) -> None:
        desk = self._desk
        desk.attempt_answered(backend)
        exchange.backend, exchange.response = backend, response
        data = response.take()
        exchange.first_byte_at = desk.clock()
        desk.usage(exchange, b"", data)
        desk.settle(exchange, Outcome.DONE)
        exchange.started = True
        client = exchange.client
        assert isinstance(client, Reply)
        client.respond(
            b"%bcontent-length: %d\r\nx-request-id: %b\r\nx-sage-instance: %b\r\n"
            b"x-sage-queue-ms: %b\r\n"
            % (lines, len(data), exchange.request_id, backend.header_id, exchange.queue_ms),
            data,
        )
        desk.end(exchange)

    def interrupted(self, exchange: Exchange) -> None:
        """Stop a request that waits for its engine; what is left to do is done the long way."""
        sent = exchange.sent
        if sent is not None:
            exchange.sent = sent.response.listener = None
            self._go_on(exchange, sent.plan, sent.body, sent)

    def dropped(self, exchange: Exchange) -> None:
        """Cancel a request that still waits for its engine when the gateway closes."""
        sent = exchange.sent
        if sent is not None:
            sent.response.listener = None
            sent.response.abort()
            self._end(exchange, Outcome.CANCELLED)

    def _go_on(self, exchange: Exchange, plan: RequestPlan, body: bytes, sent: Sent | None) -> None:
        exchange.lane = None
        client = exchange.client
        assert isinstance(client, Reply)
        client.spawn(proxy.carry_on(self._desk, exchange, plan, body, sent))

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        """Answer 500 to what should not have happened."""
        level = logging.WARNING if isinstance(error, SageError) else logging.ERROR
        logger.log(level, "a request could not be served", exc_info=error)
        self._end(exchange, Outcome.FAILED)

    def _end(self, exchange: Exchange, outcome: Outcome) -> None:
        exchange.lane = exchange.sent = None
        self._desk.settle(exchange, outcome)
        client = exchange.client
        assert isinstance(client, Reply)
        client.give_up()
        if not exchange.ended:
            self._desk.end(exchange)
