"""The gateway: engines of both kinds behind one OpenAI-compatible ASGI app."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sage.errors import ConfigError
from sage.inference.gateway import proxy
from sage.inference.gateway.access_log import AccessLog
from sage.inference.gateway.asgi import ASGIApp, Receive, Scope, Send, send_json
from sage.inference.gateway.backend import Hold
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.edge import Edge
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.express import Express
from sage.inference.gateway.failover import ResendBudget
from sage.inference.gateway.instances import CareRules, Instances
from sage.inference.gateway.keys import KeyRing
from sage.inference.gateway.limits import GatewayLimits
from sage.inference.gateway.metrics import Metrics
from sage.inference.gateway.pages import Pages
from sage.inference.gateway.routes import find_route
from sage.inference.gateway.tracing import ProviderFactory, Tracing
from sage.inference.scheduling.instance import InstanceSpec, InstanceState
from sage.inference.scheduling.policy import SchedulingPolicy
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO


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
        care: how instances are looked after; see CareRules.
        keys: that requests and management need; none by default.
        slo_classes: objectives of the requests that name none, by class; see Terms.cls.
        access_log: a file's path or ``stderr``, written a JSON line a request; see AccessLog.
        tracing: makes the provider of OpenTelemetry that gets a span a request; see Tracing.
        on_startup: awaited when the ASGI server starts, before it accepts requests.
        on_reload: called for ``POST /v1/management/reload``.

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
        care: CareRules | None = None,
        keys: KeyRing | None = None,
        slo_classes: Mapping[str, SLO] | None = None,
        access_log: str | None = None,
        tracing: ProviderFactory | None = None,
        on_startup: Callable[[], Awaitable[None]] | None = None,
        on_reload: Callable[[], None] | None = None,
    ) -> None:
        if limits is not None and request_timeout is not None:
            raise ConfigError("request_timeout is given twice: alone and in limits")
        if request_timeout is not None:
            limits = GatewayLimits(request_timeout=request_timeout)
        self._limits = limits or GatewayLimits()
        self._clock = clock
        self._wall_clock = wall_clock
        self._scheduler = scheduler or Scheduler(max_queued=self._limits.max_queued)
        care = care or CareRules()
        budget = ResendBudget(care.resend_share, 10.0 if care.resend_share else 0.0)
        self._desk = Desk(self._scheduler, self._limits, clock, budget)
        self._instances = Instances(self._desk, care, tls)
        self._edge = Edge(
            clock,
            AccessLog(access_log, wall_clock) if access_log else None,
            Tracing(tracing, wall_clock, clock) if tracing else None,
        )
        self.set_keys(keys or KeyRing())
        self._desk.slo_classes = slo_classes or {}
        self._on_startup = on_startup
        self._pages = Pages(self, on_reload)
        self._created: dict[str, int] = {}
        self.app: ASGIApp = _App(self, self._desk, self._pages)

    # Instances

    def add_instance(
        self,
        spec: InstanceSpec,
        base_url: str,
        api_key: str | None = None,
        *,
        priorities: bool = False,
    ) -> None:
        """Add an instance: up from now on, or with probing once it is found well.

        Args:
            spec: id, kind, models and limit.
            base_url: ``http://host:port`` without ``/v1``; see parse_target.
            api_key: sent to it in place of the client's Authorization.
            priorities: whether it takes the request field ``priority``; see
                BackendInstanceConfig.

        Raises:
            ConfigError: the id is taken, or the URL, id or key cannot be used.
        """
        self._instances.add(spec, base_url, api_key, priorities=priorities)
        self._list_models(spec)

    def change_instance(
        self,
        spec: InstanceSpec,
        base_url: str,
        api_key: str | None = None,
        *,
        priorities: bool = False,
    ) -> None:
        """Change models, limit, address or key of an instance without breaking what it runs.

        Raises:
            InferenceError: there is no instance by that id.
            ConfigError: the URL or key cannot be used.
        """
        self._scheduler.instance(spec.id)
        self._instances.change(spec, base_url, api_key, priorities=priorities)
        self._list_models(spec)

    def _list_models(self, spec: InstanceSpec) -> None:
        for model in spec.models:
            self._created.setdefault(model, int(self._wall_clock()))

    async def remove_instance(self, instance_id: str, *, drain_timeout: float = 30.0) -> None:
        """Take an instance out: no new work at once, and gone when what it runs has ended.

        Args:
            instance_id: which.
            drain_timeout: seconds after which what still runs is broken off.

        Raises:
            InferenceError: there is no such instance.
        """
        await self._instances.remove(instance_id, drain_timeout)

    def drain(self, instance_id: str) -> None:
        """Give an instance no more work until ``set_up``; what it runs goes on."""
        self._instances.hold(instance_id, Hold.DRAIN, "being drained")

    def set_up(self, instance_id: str) -> None:
        """Let an instance take work again, unless its health probe holds it back.

        Raises InferenceError when there is none by that id.
        """
        self._instances.release(instance_id, Hold.OPERATOR, Hold.DRAIN, Hold.BREAKER)

    def restarted(self, instance_id: str) -> None:
        """Its engine was started anew and is well: take back ``set_down``, and look at it now.

        A drain stays. Raises InferenceError when there is none by that id.
        """
        self._instances.restarted(instance_id)

    def set_down(self, instance_id: str, reason: str, *, abort: bool = False) -> None:
        """Give an instance no more work.

        Args:
            instance_id: which; InferenceError when there is none by that id.
            reason: why, for callers and for /health.
            abort: close its connections. What it runs goes to another instance where the answer
                has not begun and there is one, and ends with an error otherwise. Without, that
                goes on for as long as its connections do, so a failed health probe of a busy
                engine costs no request.
        """
        self._instances.hold(instance_id, Hold.OPERATOR, reason)
        if abort:
            self._desk.backends[instance_id].upstream.give_up()

    async def looked(self, seconds: float) -> None:
        """Wait until every instance has been probed once, or the seconds are over."""
        await self._instances.looked(seconds)

    async def look_at_all(self) -> dict[str, bool]:
        """Ask every instance how it is, now, and act on what is found; return it by id."""
        return await self._instances.look_at_all()

    def set_policy(self, policy: SchedulingPolicy | str) -> None:
        """Let another policy rule from now on, also those that wait.

        Raises UnknownKeyError when there is none by that name.
        """
        self._desk.apply(self._scheduler.set_policy(policy, self._clock()))

    def set_keys(self, keys: KeyRing) -> None:
        """Require other keys, with their limits and claims, from now on; running requests go on."""
        if keys.claims != self._desk.keys.claims:
            self._desk.apply(self._scheduler.set_tenants(keys.claims, self._clock()))
        self._desk.keys = keys
        self._edge.set_limits(keys.limits)
        self._desk.edge = self._edge if self._edge.active else None

    def set_access_log(self, target: str | None) -> None:
        """Write the access log there from now on, to a new file where it was moved away.

        Args:
            target: a file's path, ``stderr``, or None for no log.

        Raises:
            ConfigError: the file cannot be opened; all stays as it was.
        """
        old = self._edge.access_log
        if old is not None and old.target == target:
            old.reopen()
            return
        fresh = AccessLog(target, self._wall_clock) if target else None
        if fresh is not None:
            fresh.open()
        self._edge.access_log = fresh
        self._desk.edge = self._edge if self._edge.active else None
        if old is not None:
            # It may wait for a disk.
            asyncio.get_running_loop().run_in_executor(None, old.close)

    def open(self) -> None:
        """Open the access log and tracing, as ``startup`` does, unless they are.

        Raises:
            ConfigError: the access log cannot be opened.
        """
        self._edge.open()

    async def startup(self) -> None:
        """Do what the ASGI server's start is to bring about.

        Raises ConfigError when the access log cannot be opened.
        """
        self.open()
        if self._on_startup is not None:
            await self._on_startup()

    # State

    @property
    def policy(self) -> str:
        """The name of the policy in force."""
        return self._scheduler.policy.name

    @property
    def slo_classes(self) -> Mapping[str, SLO]:
        """Objectives of the requests that name none, by class."""
        return self._desk.slo_classes

    @slo_classes.setter
    def slo_classes(self, classes: Mapping[str, SLO]) -> None:
        self._desk.slo_classes = classes

    def scheduler_stats(self) -> dict[str, Any]:
        """Return what the scheduler has learned, by class, instance and model."""
        return self._scheduler.stats(self._clock())

    @property
    def keys(self) -> KeyRing:
        """The keys in force."""
        return self._desk.keys

    @property
    def metrics(self) -> Metrics:
        """What was measured of the requests that have ended."""
        return self._desk.metrics

    def instance_ids(self) -> set[str]:
        """Return the ids of the instances there are."""
        return set(self._desk.backends)

    def instance(self, instance_id: str) -> dict[str, Any]:
        """Return one instance as the snapshot has it; InferenceError when there is none."""
        return self._describe(self._scheduler.instance(instance_id))

    @property
    def status(self) -> str:
        """``ok``, ``degraded`` (an instance is down) or ``unavailable`` (none is up)."""
        ups = [state.up for state in self._scheduler.instances()]
        if not any(ups):
            return "unavailable"
        return "ok" if all(ups) else "degraded"

    def snapshot(self) -> dict[str, Any]:
        """Return ``{"instances": [...], "requests": {...}}``, and of an access log what it lost.

        An instance's counts are of attempts: dispatched = done + failed + cancelled + in_flight.
        The requests' are of requests: received = done + failed + cancelled + rejected + open.
        """
        log = self._edge.access_log
        lost = {} if log is None else {"access_log": {"dropped_lines": log.dropped}}
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
            **lost,
        }

    def _describe(self, state: InstanceState) -> dict[str, Any]:
        backend = self._desk.backends[state.spec.id]
        return {
            "id": state.spec.id,
            "kind": state.spec.kind.value,
            "models": list(state.spec.models),
            "url": backend.upstream.target.url,
            "up": state.up,
            "reason": state.reason,
            "held_by": [hold.value for hold in backend.holds],
            "breaker": backend.breaker.state.value,
            "max_requests": state.spec.max_requests,
            "in_flight": len(state.running),
            "dispatched": state.dispatched,
            "done": state.done,
            "failed": state.failed,
            "cancelled": state.cancelled,
            "embedding_calls": None if backend.bus is None else backend.bus.snapshot(),
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
        await self._instances.aclose()
        if self._desk.edge is not None:
            # It may wait for a disk or a collector.
            await asyncio.to_thread(self._edge.close)


class _App:
    """The ASGI callable: an object with an async __call__, which every server recognises.

    Attributes:
        express: the short way, for a server that knows of it.
    """

    def __init__(self, gateway: Gateway, desk: Desk, pages: Pages) -> None:
        self._gateway = gateway
        self._desk = desk
        self._pages = pages
        self.express = Express(desk)
        desk.express = self.express

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        try:
            route = find_route(scope["method"], scope["path"])
        except ApiError as error:
            await send_json(send, error.status, error.body(scope["path"]), error.headers)
            return
        if route.kinds:
            await proxy.serve(self._desk, self._desk.begin(scope, receive, send), route)
        else:
            await self._pages.serve(route, scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._gateway.startup()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._gateway.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
