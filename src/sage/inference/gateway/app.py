"""The gateway: engines of both kinds behind one OpenAI-compatible ASGI app."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any

from sage.errors import ConfigError
from sage.inference.gateway import proxy
from sage.inference.gateway.asgi import ASGIApp, Receive, Scope, Send, send_json
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.limits import GatewayLimits
from sage.inference.gateway.routes import MODEL_PREFIX, Page, Route, find_route
from sage.inference.gateway.target import parse_target
from sage.inference.gateway.upstream import Upstream
from sage.inference.scheduling.instance import InstanceSpec, InstanceState
from sage.inference.scheduling.scheduler import Scheduler


class Gateway:
    """Routes OpenAI requests to instances that may come and go.

    All methods are to be called on the event loop that serves ``app``.

    Args:
        clock: seconds, monotonic.
        wall_clock: seconds since the epoch, for the ``created`` field of models.
        scheduler: the core; a fresh one with the default policy when not given.
        tls: used for https instances in place of the system's default context.
        limits: limits in time and size; see GatewayLimits.
        request_timeout: shorthand for that limit, when ``limits`` is not given.

    Attributes:
        app: the ASGI 3 application.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        scheduler: Scheduler | None = None,
        tls: ssl.SSLContext | None = None,
        limits: GatewayLimits | None = None,
        request_timeout: float | None = None,
    ) -> None:
        if limits is not None and request_timeout is not None:
            raise ConfigError("request_timeout is given twice: alone and in limits")
        if request_timeout is not None:
            limits = GatewayLimits(request_timeout=request_timeout)
        self._limits = limits or GatewayLimits()
        self._clock = clock
        self._wall_clock = wall_clock
        self._tls = tls
        self._scheduler = scheduler or Scheduler(max_queued=self._limits.max_queued)
        self._desk = Desk(self._scheduler, self._limits, clock)
        self._created: dict[str, int] = {}
        self.app: ASGIApp = _App(self)

    # Instances

    def add_instance(self, spec: InstanceSpec, base_url: str, api_key: str | None = None) -> None:
        """Add an instance, which is up from now on.

        Args:
            spec: id, kind, models and limit.
            base_url: ``http://host:port`` without ``/v1``; see parse_target.
            api_key: sent to it in place of the client's Authorization.

        Raises:
            ConfigError: the id is taken, or the URL, id or key cannot be used.
        """
        if spec.id in self._desk.backends:
            raise ConfigError(f"there is an instance {spec.id!r} already; remove it first")
        upstream = Upstream(
            parse_target(base_url),
            connect_timeout=self._limits.connect_timeout,
            tls=self._tls,
            clock=self._clock,
        )
        self._desk.backends[spec.id] = Backend(spec, upstream, api_key)
        for model in spec.models:
            self._created.setdefault(model, int(self._wall_clock()))
        self._desk.apply(self._scheduler.instance_up(spec, self._clock()))

    async def remove_instance(self, instance_id: str, *, drain_timeout: float = 30.0) -> None:
        """Take an instance out: no new work at once, and gone when what it runs has ended.

        Args:
            instance_id: which.
            drain_timeout: seconds after which what still runs is broken off.

        Raises:
            InferenceError: there is no such instance.
        """
        self.set_down(instance_id, "being removed")
        try:
            async with asyncio.timeout(drain_timeout):
                await self._desk.drained(instance_id)
        except TimeoutError:
            self._desk.interrupt(instance_id)
            await self._desk.drained(instance_id)
        backend = self._desk.backends.pop(instance_id)
        self._desk.apply(self._scheduler.instance_removed(instance_id, self._clock()))
        backend.upstream.close()

    def set_up(self, instance_id: str) -> None:
        """Let an instance take work again; raises InferenceError when there is none by that id."""
        spec = self._scheduler.instance(instance_id).spec
        self._desk.apply(self._scheduler.instance_up(spec, self._clock()))

    def set_down(self, instance_id: str, reason: str, *, abort: bool = False) -> None:
        """Give an instance no more work.

        Args:
            instance_id: which; InferenceError when there is none by that id.
            reason: why, for callers and for /health.
            abort: break off what it runs; otherwise that goes on for as long as its connections
                do, so a failed health probe of a busy engine costs no request.
        """
        decisions = self._scheduler.instance_down(instance_id, self._clock(), reason)
        self._desk.apply(decisions)
        if abort:
            self._desk.interrupt(instance_id)

    # State

    @property
    def status(self) -> str:
        """``ok``, ``degraded`` (an instance is down) or ``unavailable`` (none is up)."""
        ups = [state.up for state in self._scheduler.instances()]
        if not any(ups):
            return "unavailable"
        return "ok" if all(ups) else "degraded"

    def snapshot(self) -> dict[str, Any]:
        """Return ``{"instances": [...], "requests": {...}}``.

        An instance's counts are of attempts: dispatched = done + failed + cancelled + in_flight.
        The requests' are of requests: received = done + failed + cancelled + rejected + open.
        """
        tally = self._desk.tally
        counts = self._scheduler.counts()
        return {
            "instances": [self._describe(state) for state in self._scheduler.instances()],
            "requests": {
                "received": tally.received,
                "done": tally.done,
                "failed": tally.failed,
                "cancelled": tally.cancelled,
                "rejected": tally.rejected,
                "open": self._desk.open,
                "queued": counts.queued,
                "in_flight": counts.in_flight,
                "retried": counts.retried,
            },
        }

    def _describe(self, state: InstanceState) -> dict[str, Any]:
        return {
            "id": state.spec.id,
            "kind": state.spec.kind.value,
            "models": list(state.spec.models),
            "url": self._desk.backends[state.spec.id].upstream.target.url,
            "up": state.up,
            "reason": state.reason,
            "max_requests": state.spec.max_requests,
            "in_flight": len(state.running),
            "dispatched": state.dispatched,
            "done": state.done,
            "failed": state.failed,
            "cancelled": state.cancelled,
        }

    def model_list(self) -> list[dict[str, Any]]:
        """Return the models served, as OpenAI lists them, each with its kind."""
        return [
            {
                "id": name,
                "object": "model",
                "created": self._created[name],
                "owned_by": "sage",
                "kind": kind.value,
            }
            for name, kind in self._scheduler.models()
        ]

    async def aclose(self) -> None:
        """Close every connection to the instances; the requests that run over them fail."""
        self._desk.stop()
        for backend in self._desk.backends.values():
            backend.upstream.close()

    # Requests

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            route = find_route(scope["method"], scope["path"])
        except ApiError as error:
            await send_json(send, error.status, error.body(), error.headers)
            return
        if route.kind is not None:
            await proxy.serve(self._desk, self._desk.begin(scope, receive, send), route)
        else:
            await self._page(route, scope, send)

    async def _page(self, route: Route, scope: Scope, send: Send) -> None:
        if route.page is Page.HEALTH:
            status = self.status
            code = 503 if status == "unavailable" else 200
            await send_json(send, code, {"status": status, **self.snapshot()})
        elif route.page is Page.MODELS:
            await send_json(send, 200, {"object": "list", "data": self.model_list()})
        else:
            await self._model_page(scope["path"][len(MODEL_PREFIX) :], send)

    async def _model_page(self, name: str, send: Send) -> None:
        models = self.model_list()
        for model in models:
            if model["id"] == name:
                await send_json(send, 200, model)
                return
        known = ", ".join(repr(model["id"]) for model in models) or "none"
        error = ApiError(
            404,
            f"the model {name!r} does not exist; models here: {known}",
            param="model",
            code="model_not_found",
        )
        await send_json(send, 404, error.body())


class _App:
    """The ASGI callable: an object with an async __call__, which every server recognises."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._gateway._handle(scope, receive, send)  # noqa: SLF001 - one class in two
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._gateway.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
