"""The gateway's instances: when each is given work, and how much."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from dataclasses import dataclass, field, replace

from sage.errors import ConfigError
from sage.inference.gateway.backend import Backend, Hold
from sage.inference.gateway.breaker import Breaker, BreakerRule, BreakerState
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.embedding import EmbeddingBus
from sage.inference.gateway.probe import Prober, ProbeRule, look
from sage.inference.gateway.target import parse_target
from sage.inference.gateway.telemetry import Telemetry, TelemetryRule
from sage.inference.gateway.upstream import Upstream
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.gateway")

_RAMP_START = 0.1


@dataclass(frozen=True, slots=True)
class CareRules:
    """How instances are looked after.

    Attributes:
        breaker: when failures take an instance out.
        probe: how health is asked for; None leaves instances up until they are set down.
        slow_start: seconds over which an instance that recovers is brought back to its limit
            while others serve its models too; 0 brings it back at once.
        resend_share: requests that may be sent to a second instance after the first failed
            before its answer began, as a share of all; 0 turns that off.
        telemetry: how engines at work are asked for their load; None asks none.
    """

    breaker: BreakerRule = field(default_factory=BreakerRule)
    probe: ProbeRule | None = None
    slow_start: float = 10.0
    resend_share: float = 0.2
    telemetry: TelemetryRule | None = None

    def __post_init__(self) -> None:
        if not self.slow_start >= 0:
            raise ConfigError(f"slow_start is {self.slow_start}; it must be at least 0 seconds")


class Instances:
    """Adds, holds back, brings back and removes instances.

    An instance is up while nothing holds it back: neither a person, nor its health probe, nor
    its breaker, nor a drain.

    Args:
        desk: the gateway's.
        rules: how they are looked after.
        tls: used for https instances in place of the system's default context.
    """

    def __init__(self, desk: Desk, rules: CareRules, tls: ssl.SSLContext | None) -> None:
        self._desk = desk
        self._rules = rules
        self._tls = tls
        self._prober: Prober | None = None
        if rules.probe is not None:
            self._prober = Prober(rules.probe, on_up=self._found_up, on_down=self._found_down)
        self._telemetry: Telemetry | None = None
        if rules.telemetry is not None:
            self._telemetry = Telemetry(desk, rules.telemetry)
        self._unsettled: set[str] = set()
        desk.on_tick = self.tick
        desk.on_attempt_failed = self.attempt_failed
        desk.on_attempt_answered = self.attempt_answered

    # Coming and going

    def add(
        self, spec: InstanceSpec, base_url: str, api_key: str | None, *, priorities: bool = False
    ) -> None:
        """Add an instance; with probing it is down until it is found well."""
        if spec.id in self._desk.backends:
            raise ConfigError(f"there is an instance {spec.id!r} already; remove it first")
        backend = self._backend(spec, base_url, api_key, priorities)
        self._desk.backends[spec.id] = backend
        self._desk.apply(self._desk.scheduler.instance_up(spec, self._desk.clock()))
        if self._prober is not None:
            self.hold(spec.id, Hold.PROBE, "it has not been probed yet")
            self._prober.watch(backend)

    def change(
        self, spec: InstanceSpec, base_url: str, api_key: str | None, *, priorities: bool = False
    ) -> None:
        """Change models, limit, address or key of an instance; what it runs goes on.

        The old address gets no more requests, and its connections close as they fall idle.
        """
        old = self._desk.backends[spec.id]
        backend = self._backend(spec, base_url, api_key, priorities)
        backend.holds = {hold: why for hold, why in old.holds.items() if hold is Hold.OPERATOR}
        self._desk.backends[spec.id] = backend
        self._unsettled.discard(spec.id)
        old.upstream.retire()
        if self._telemetry is not None:
            self._telemetry.forget(old)
        self._apply(backend)
        if self._prober is not None:
            self._prober.forget(spec.id)
            self._prober.watch(backend)

    def _backend(
        self, spec: InstanceSpec, base_url: str, api_key: str | None, priorities: bool
    ) -> Backend:
        upstream = Upstream(
            parse_target(base_url),
            connect_timeout=self._desk.limits.connect_timeout,
            tls=self._tls,
            clock=self._desk.clock,
        )
        backend = Backend(spec, upstream, api_key, Breaker(self._rules.breaker))
        if spec.kind is Kind.EMBEDDING and spec.coalesce:
            idle_timeout = self._desk.limits.idle_timeout
            backend.bus = EmbeddingBus(backend, spec, self._desk.clock, idle_timeout)
        backend.priorities = priorities
        return backend

    async def remove(self, instance_id: str, drain_timeout: float) -> None:
        """Take an instance out: no new work at once, and gone when what it runs has ended."""
        desk = self._desk
        self.hold(instance_id, Hold.DRAIN, "being removed")
        try:
            async with asyncio.timeout(drain_timeout):
                await desk.drained(instance_id)
        except TimeoutError:
            desk.interrupt(instance_id)
            await desk.drained(instance_id)
        backend = desk.backends.pop(instance_id, None)
        if backend is None:
            return
        if self._prober is not None:
            self._prober.forget(instance_id)
        if self._telemetry is not None:
            self._telemetry.forget(backend)
        self._unsettled.discard(instance_id)
        desk.apply(desk.scheduler.instance_removed(instance_id, desk.clock()))
        backend.upstream.close()

    async def looked(self, seconds: float) -> None:
        """Wait until every instance has been probed once, or the seconds are over."""
        if self._prober is not None:
            await self._prober.looked(seconds)

    async def look_at_all(self) -> dict[str, bool]:
        """Ask every instance how it is, now, and act on what is found; return it by id."""
        backends = list(self._desk.backends.values())
        seconds = (self._rules.probe or ProbeRule()).timeout
        findings = await asyncio.gather(*(look(backend, seconds) for backend in backends))
        well = {}
        for backend, finding in zip(backends, findings, strict=True):
            well[backend.id] = not finding.problem
            if self._prober is not None and self._current(backend):
                self._prober.note(backend.id, finding)
        return well

    async def aclose(self) -> None:
        """Stop probing and asking, and close every connection."""
        if self._prober is not None:
            await self._prober.aclose()
        if self._telemetry is not None:
            await self._telemetry.aclose()
        for backend in self._desk.backends.values():
            backend.upstream.close()

    # Holding back and letting go

    def hold(self, instance_id: str, hold: Hold, reason: str) -> None:
        """Give an instance no more work for this reason, among others there may be."""
        desk = self._desk
        decisions = desk.scheduler.instance_down(instance_id, desk.clock(), reason)
        backend = desk.backends[instance_id]
        backend.holds[hold] = reason
        backend.ramp_began = None
        desk.apply(decisions)

    def release(self, instance_id: str, *holds: Hold) -> None:
        """Take reasons back; without any left the instance is up, slowly if others are."""
        desk = self._desk
        desk.scheduler.instance(instance_id)  # names those there are when there is none by that id
        backend = desk.backends[instance_id]
        held = bool(backend.holds)
        for hold in holds:
            backend.holds.pop(hold, None)
        if Hold.BREAKER in holds:
            backend.breaker.reset()
            self._unsettled.discard(instance_id)
        if held and not backend.holds:
            self._start_ramp(backend)
        self._apply(backend)

    def restarted(self, instance_id: str) -> None:
        """Its engine was started anew: what was held against the old one is void."""
        self.release(instance_id, Hold.OPERATOR, Hold.BREAKER)
        if self._prober is not None:
            self._prober.forget(instance_id)
            self._prober.watch(self._desk.backends[instance_id])

    def _start_ramp(self, backend: Backend) -> None:
        if self._rules.slow_start and backend.served and self._others_up(backend):
            backend.ramp_began = self._desk.clock()
            self._unsettled.add(backend.id)

    def _others_up(self, backend: Backend) -> bool:
        models = set(backend.spec.models)
        return any(
            state.up
            and state.spec.id != backend.id
            and state.spec.kind is backend.spec.kind
            and not models.isdisjoint(state.spec.models)
            for state in self._desk.scheduler.instances()
        )

    def _apply(self, backend: Backend) -> None:
        """Tell the scheduler the instance's limit; while it is held back it need not know."""
        if backend.holds:
            return
        desk, now = self._desk, self._desk.clock()
        spec = replace(backend.spec, max_requests=self._limit(backend, now))
        desk.apply(desk.scheduler.instance_up(spec, now))

    def _limit(self, backend: Backend, now: float) -> int:
        most = backend.spec.max_requests
        if backend.breaker.state is BreakerState.HALF_OPEN:
            return 1
        if backend.ramp_began is None:
            return most
        share = max(_RAMP_START, (now - backend.ramp_began) / self._rules.slow_start)
        return max(1, math.ceil(most * min(1.0, share)))

    # What the probes and the traffic show

    def _found_up(self, instance_id: str) -> None:
        self.release(instance_id, Hold.PROBE)

    def _found_down(self, instance_id: str, reason: str) -> None:
        self.hold(instance_id, Hold.PROBE, reason)

    def attempt_failed(self, backend: Backend, now: float, reason: str) -> None:
        """An attempt at an instance ended in a connection error or a 5xx answer."""
        if backend.breaker.failed(now) and self._current(backend):
            logger.warning("instance %s is left alone for a while: %s", backend.id, reason)
            self._unsettled.add(backend.id)
            self.hold(backend.id, Hold.BREAKER, f"its requests fail ({reason})")

    def attempt_answered(self, backend: Backend, now: float) -> None:
        """An attempt at an instance under watch was answered."""
        if backend.breaker.succeeded(now) and self._current(backend):
            logger.info("instance %s answers again", backend.id)
            self._unsettled.discard(backend.id)
            self._start_ramp(backend)
            self._apply(backend)

    def _current(self, backend: Backend) -> bool:
        return self._desk.backends.get(backend.id) is backend

    def tick(self, now: float) -> None:
        """Time has passed: let probes through open breakers and raise the limits of ramps."""
        if self._telemetry is not None:
            self._telemetry.tick(now)
        for instance_id in list(self._unsettled):
            backend = self._desk.backends[instance_id]
            if backend.breaker.tick(now):
                backend.holds.pop(Hold.BREAKER, None)
                self._apply(backend)
            elif backend.ramp_began is not None:
                if now - backend.ramp_began >= self._rules.slow_start:
                    backend.ramp_began = None
                    self._unsettled.discard(instance_id)
                self._apply(backend)
