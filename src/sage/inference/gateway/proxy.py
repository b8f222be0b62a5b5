"""Passing a request on to the instance the scheduler chose, and its answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from sage.errors import InferenceError, UpstreamError
from sage.inference.gateway.asgi import Headers, send_json
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.bodies import (
    ClientGoneError,
    RoutingFields,
    decode_fields,
    estimate_prompt_tokens,
    prefix_hashes,
    prefix_tokens,
    read_body,
    too_large,
    with_priority,
)
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.errors import (
    ApiError,
    ConnectFailedError,
    InstanceLostError,
    rejection,
)
from sage.inference.gateway.exchange import Exchange, Interruption, Outcome, Sent
from sage.inference.gateway.headers import response_headers
from sage.inference.gateway.plan import RequestPlan, read_plan
from sage.inference.gateway.response import UpstreamResponse
from sage.inference.gateway.routes import Route
from sage.inference.scheduling.decision import Reject
from sage.inference.scheduling.request import Kind, Request

_ELSEWHERE = (502, 503, 504)
_LAST_WORDS = 1.0
"""Seconds a client gets to take the error that ends its interrupted request."""


class ResponseCutShortError(InferenceError):
    """Raised to the ASGI server so that it closes the client's connection mid-response."""


async def serve(desk: Desk, exchange: Exchange, route: Route) -> None:
    """Serve one inference request to its end, whatever that is; it is counted exactly once."""
    await _counted(desk, exchange, _forward(desk, exchange, route))


async def carry_on(
    desk: Desk, exchange: Exchange, plan: RequestPlan, body: bytes, sent: Sent | None
) -> None:
    """Serve a request to its end that was begun without a task.

    Args:
        desk: where it stands.
        exchange: it, submitted to the scheduler.
        plan: of its head.
        body: whole.
        sent: the attempt it waits for; None when it has not been sent.
    """
    exchange.task = asyncio.current_task()
    stopped = exchange.interruption is not None
    work = _stop(sent) if stopped else _pass_on(desk, exchange, plan, body, sent)
    await _counted(desk, exchange, work)


async def _stop(sent: Sent | None) -> None:
    """End a request that was interrupted before its task began."""
    if sent is not None:
        sent.response.abort()
    raise asyncio.CancelledError


async def _counted(desk: Desk, exchange: Exchange, work: Awaitable[None]) -> None:
    try:
        await _answered(desk, exchange, work)
    except asyncio.CancelledError:
        why = exchange.interruption
        if why is Interruption.STALLED and exchange.backend is not None:
            desk.attempt_failed(exchange.backend, why.value)
        desk.settle(exchange, _outcome(exchange, why))
        if why is None:
            raise
        if exchange.task is not None:
            exchange.task.uncancel()
        await _last_words(exchange, why)
    finally:
        # An outcome that is not fixed by now means an unforeseen error, which goes on its way.
        desk.settle(exchange, Outcome.FAILED)
        desk.end(exchange)


def _outcome(exchange: Exchange, why: Interruption | None) -> Outcome:
    if why is None or why is Interruption.CLIENT_GONE:
        return Outcome.CANCELLED
    return Outcome.REJECTED if exchange.reading else Outcome.FAILED


async def _answered(desk: Desk, exchange: Exchange, work: Awaitable[None]) -> None:
    try:
        await work
    except ClientGoneError:
        desk.settle(exchange, Outcome.CANCELLED)
    except ApiError as error:
        rejected = error.status not in (502, 504)
        desk.settle(exchange, Outcome.REJECTED if rejected else Outcome.FAILED)
        await _answer(exchange, error)
    except UpstreamError as error:
        if exchange.backend is not None:
            desk.attempt_failed(exchange.backend, str(error))
        desk.settle(exchange, Outcome.FAILED)
        code = error.code if isinstance(error, InstanceLostError) else "upstream_error"
        await _report_break(exchange, str(error), code=code, status=502)


async def _forward(desk: Desk, exchange: Exchange, route: Route) -> None:
    plan = read_plan(route, exchange.scope, desk.keys)
    head = plan.head
    exchange.tenant, exchange.terms = plan.tenant, plan.terms
    limit = desk.limits.max_body_bytes
    if head.content_length is not None and head.content_length > limit:
        raise too_large(limit)
    if head.request_id:
        exchange.request_id = head.request_id
    client = exchange.client
    body = None if client is None else client.whole_body()
    if body is None:
        body = await read_body(exchange.receive, limit)
    elif desk.express is not None and client is not None and client.message is not None:
        desk.express.learn(plan, client.message)
    desk.body_read(exchange)
    fields = decode_fields(body)
    exchange.model, exchange.kind = _model_and_kind(desk, route, fields.model)
    if desk.edge is not None:
        desk.edge.admit(exchange, head, estimate_prompt_tokens(body), fields.most_tokens)
    submit(desk, exchange, fields, body)
    await _pass_on(desk, exchange, plan, body, None)


def submit(desk: Desk, exchange: Exchange, fields: RoutingFields, body: bytes) -> None:
    """Hand a request to the scheduler.

    Args:
        desk: where it stands.
        exchange: it, with its model, kind, tenant and terms.
        fields: of its body.
        body: whole.
    """
    terms, kind = exchange.terms, exchange.kind
    assert kind is not None
    cls = terms.cls or kind.value
    slo = terms.slo or desk.slo_classes.get(cls)
    if slo is None and (claim := desk.keys.claims.get(exchange.tenant)) is not None:
        slo = claim.slo
    exchange.slo = slo
    prefix = prefix_hashes(body) if kind is Kind.LLM else ()
    desk.submit(
        exchange,
        Request(
            exchange.id,
            kind,
            exchange.model,
            desk.clock(),
            estimate_prompt_tokens(body),
            fields.most_tokens,
            terms.priority,
            exchange.tenant,
            slo,
            prefix,
            cls,
            fields.stream is True,
            prefix_tokens(prefix),
        ),
    )


async def _pass_on(
    desk: Desk, exchange: Exchange, plan: RequestPlan, body: bytes, sent: Sent | None
) -> None:
    response = await _reach(desk, exchange, plan, body, sent)
    await _relay(desk, exchange, response)


def _model_and_kind(desk: Desk, route: Route, model: str | None) -> tuple[str, Kind]:
    """Return what the request is for; a model that was left out is the only one there is."""
    kinds = route.kinds
    if model and len(kinds) == 1:
        return model, kinds[0]
    served = [item for kind in kinds for item in desk.scheduler.models(kind)]
    if model:
        return next((item for item in served if item[0] == model), (model, kinds[0]))
    if len(served) == 1:
        return served[0]
    names = " or ".join(repr(kind.value) for kind in kinds)
    known = ", ".join(repr(name) for name, _ in served) or "none"
    raise ApiError(
        400,
        f"model is required; models of kind {names} here: {known}",
        param="model",
        code="model_required",
    )


def note_dispatch(desk: Desk, exchange: Exchange, backend: Backend) -> None:
    """Note which instance a request goes to now."""
    backend.served = True
    if not exchange.dispatched_at:
        exchange.dispatched_at = desk.clock()
    exchange.instance_id = backend.id
    exchange.tried.append(backend.id)


async def _reach(
    desk: Desk, exchange: Exchange, plan: RequestPlan, body: bytes, sent: Sent | None
) -> UpstreamResponse:
    """Return the response of the first instance that can be reached."""
    while True:
        if sent is None:
            backend = await _next_instance(desk, exchange)
            attempt = _attempt(backend, exchange, plan, body)
        else:
            backend = sent.backend
            attempt = backend.upstream.answered(sent.response, sent.head, sent.body)
            sent = None
        try:
            response = await attempt
        except ConnectFailedError as error:
            exchange.causes.append(f"{backend.id}: {error}")
            _attempt_failed(desk, exchange, backend, str(error))
            desk.undelivered(exchange)
        except UpstreamError as error:
            _attempt_failed(desk, exchange, backend, str(error))
            if not desk.send_elsewhere(exchange, str(error)):
                raise
        else:
            if _accepted(desk, exchange, backend, response):
                exchange.backend, exchange.response = backend, response
                return response


async def _next_instance(desk: Desk, exchange: Exchange) -> Backend:
    decision = exchange.take_decision() or await exchange.decided()
    if isinstance(decision, Reject):
        raise rejection(decision, exchange.causes)
    backend = desk.backends[decision.instance_id]
    note_dispatch(desk, exchange, backend)
    return backend


async def _attempt(
    backend: Backend, exchange: Exchange, plan: RequestPlan, body: bytes
) -> UpstreamResponse:
    if backend.bus is not None:
        return await backend.bus.request(exchange, plan.target, plan.head, body)
    sent = with_priority(body, exchange.terms.priority) if backend.priorities else body
    head = backend.request_head(plan.target, plan.head, exchange.request_id, len(sent))
    return await backend.upstream.request(head, sent)


def _accepted(desk: Desk, exchange: Exchange, backend: Backend, response: UpstreamResponse) -> bool:
    """Whether the client gets this answer; otherwise the request is on its way to another.

    501 says that the engine lacks the route, which is no fault of its health. 500 is passed on:
    the engine has worked on the request, which may be what breaks it.
    """
    status = response.status
    if status < 500 or status == 501:
        if not exchange.follows:
            desk.attempt_answered(backend)
        return True
    _attempt_failed(desk, exchange, backend, f"HTTP status {status}")
    if status not in _ELSEWHERE or not desk.send_elsewhere(exchange, f"HTTP status {status}"):
        return True
    response.abort()
    return False


def _attempt_failed(desk: Desk, exchange: Exchange, backend: Backend, reason: str) -> None:
    if exchange.follows:
        exchange.follows = False  # its next attempt is its own
    else:
        desk.attempt_failed(backend, reason)


async def _relay(desk: Desk, exchange: Exchange, response: UpstreamResponse) -> None:
    backend = exchange.backend
    assert backend is not None
    headers, exchange.streamed = response_headers(
        response.headers,
        status=response.status,
        request_id=exchange.request_id,
        instance_id=backend.header_id,
    )
    headers.append((b"x-sage-queue-ms", exchange.queue_ms))
    exchange.started = True
    client = exchange.client
    if client is None:
        await _relay_messages(desk, exchange, response, headers)
        return
    client.begin(response.status, headers)
    if not (response.complete or response.buffered):
        client.flush()
    data = response.take() if response.complete else await response.read()
    _first_bytes(desk, exchange)
    before = b""
    if not response.complete or response.buffered:
        full = not client.write(data)
        while full or not await response.pump(client.write):
            full = False
            await client.drain()
        before, data = response.passed or data, response.take()
    _delivered(desk, exchange, response, before, data)
    client.finish(data)


async def _relay_messages(
    desk: Desk, exchange: Exchange, response: UpstreamResponse, headers: Headers
) -> None:
    """Relay by ASGI's messages, for servers that offer nothing faster."""
    send = exchange.send
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    data = await response.read()
    _first_bytes(desk, exchange)
    before = b""
    while not response.complete or response.buffered:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        before = data or before
        data = await response.read()
    _delivered(desk, exchange, response, before, data)
    await send({"type": "http.response.body", "body": data, "more_body": False})


def _first_bytes(desk: Desk, exchange: Exchange) -> None:
    exchange.first_byte_at = desk.clock()
    if exchange.streamed:
        desk.first_token(exchange)


def _delivered(
    desk: Desk, exchange: Exchange, response: UpstreamResponse, before: bytes, last: bytes
) -> None:
    desk.usage(exchange, before, last)
    desk.settle(exchange, Outcome.DONE if response.status < 500 else Outcome.FAILED)


async def _answer(exchange: Exchange, error: ApiError) -> None:
    headers = [*error.response_headers(), (b"x-request-id", exchange.request_id)]
    if exchange.instance_id:
        headers.append((b"x-sage-instance", exchange.instance_id.encode()))
    exchange.started = True
    exchange.status = error.status
    await send_json(exchange.send, error.status, error.body(exchange.scope["path"]), headers)


async def _report_break(exchange: Exchange, message: str, *, code: str, status: int) -> None:
    """Tell the client that its answer ends here, in the way its state still allows."""
    text = f"instance {exchange.instance_id}: {message}" if exchange.instance_id else message
    error = ApiError(status, text, type="server_error", code=code)
    if not exchange.started:
        await _answer(exchange, error)
    elif exchange.streamed:
        event = error.event(exchange.scope["path"])
        await exchange.send({"type": "http.response.body", "body": event, "more_body": False})
    else:
        await _cut_short(exchange)


async def _cut_short(exchange: Exchange) -> None:
    client = exchange.client
    if client is None:
        raise ResponseCutShortError("the engine's response broke off; the connection is closed")
    client.abort()
    # Returning before the server has noticed would count as a response left open.
    while (await exchange.receive())["type"] != "http.disconnect":
        continue


async def _last_words(exchange: Exchange, why: Interruption) -> None:
    if why is Interruption.CLIENT_GONE:
        return
    try:
        async with asyncio.timeout(_LAST_WORDS):
            if exchange.reading:
                await _answer(exchange, _slow_body())
            elif why is Interruption.ABORTED:
                await _report_break(exchange, why.value, code=InstanceLostError.code, status=502)
            else:
                await _report_break(exchange, why.value, code="timeout", status=504)
    except TimeoutError:
        await _cut_short(exchange)


def _slow_body() -> ApiError:
    return ApiError(
        408,
        "the request body did not arrive in time",
        code="request_timeout",
        headers=[(b"connection", b"close")],
    )
