"""A gateway and its engines in simulated time, around the scheduler that production runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.simulate.client import Client, Flight, is_out
from sage.benchmark.simulate.config import CHAT_MODEL, EMBEDDING_MODEL
from sage.benchmark.simulate.engine_request import Emission, EngineModel
from sage.benchmark.simulate.events import NEVER, Events
from sage.benchmark.token_log import LoggedTimes
from sage.benchmark.workload import PlannedRequest
from sage.errors import ConfigError
from sage.inference.gateway.terms import Terms
from sage.inference.scheduling.decision import Decision, Dispatch
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler

# As the gateway has them (Desk and TelemetryRule).
_TICK = 0.25
_SHORTEST_NAP = 0.002
_TELEMETRY = 1.0


class Simulation:
    """Runs one sequence of requests.

    The scheduler gets the events that the gateway gives it, at the moments it would have them: a
    request's arrival, its first token, its usage and end, ticks four times a second and when the
    scheduler asks to be woken, and the engines' figures once a second. It is told true prompt
    lengths, and answers' lengths as the most tokens that are asked for, as in a live run.

    Args:
        scheduler: without instances; it is given the engines.
        engines: by the ids of their specs.
        lag: seconds between client and gateway, one way.
        timeout_s: seconds after which a client gives up.
        max_in_flight: at most so many are out at once; the others wait at the client.
        tells_output: whether clients say how long an answer may be.
        hash_tokens: prompt tokens that one of a request's blocks stands for.
        on_answer: called with each exchange that has ended.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        engines: Mapping[str, EngineModel],
        *,
        lag: float = 0.0,
        timeout_s: float = NEVER,
        max_in_flight: int | None = None,
        tells_output: bool = True,
        hash_tokens: int = 512,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._engines = dict(engines)
        self._lag = lag
        self._tells_output = tells_output
        self._hash_tokens = hash_tokens
        self._events = Events()
        self._client = Client(
            self._events,
            self._arrive,
            self._gone,
            lag=lag,
            timeout_s=timeout_s,
            max_in_flight=max_in_flight,
            on_answer=on_answer,
        )
        # Those that the gateway has, by the scheduler's ids.
        self._flights: dict[int, Flight] = {}
        self._ticking = False
        self._woken_at: float | None = None
        self._asked: dict[str, float] = {}
        self._seen: dict[str, float] = dict.fromkeys(self._engines, NEVER)
        for engine in self._engines.values():
            scheduler.instance_up(engine.spec, 0.0)

    def run(
        self, requests: Sequence[PlannedRequest], *, users: int = 0, think_s: float = 0.0
    ) -> LoadResult:
        """Issue every request and go on until each has ended.

        Ctrl-C breaks it off: what has ended by then stays, as in a live run.

        Args:
            requests: in the order they are due; chat requests have at least a token each way.
            users: 0 for an open loop; else a closed one, in which so many users each send the
                next request when the answer before has come.
            think_s: seconds such a user waits in between.

        Raises:
            ConfigError: the engines stand still though requests have not ended.
        """
        self._client.begin(requests, users, think_s)
        interrupted = False
        try:
            self._loop()
        except KeyboardInterrupt:
            interrupted = True
        if self._flights and not interrupted:
            raise ConfigError(
                f"{len(self._flights)} requests can never be served: does an engine serve them?"
            )
        exchanges = self._client.exchanges
        last = max((exchange.ended for exchange in exchanges), default=0.0)
        for exchange in exchanges:
            if is_out(exchange):
                exchange.interrupted, exchange.ended = True, last
        return LoadResult(exchanges, len(requests) - len(exchanges), 0.0, 0.0, last, [])

    def _loop(self) -> None:
        queue, client = self._events.queue, self._client
        pop = heapq.heappop
        while True:
            if queue and queue[0][0] < client.due:
                now, _, handle, about = pop(queue)
                handle(now, about)
            elif client.due < NEVER:
                client.send_next()
            else:
                return

    def _gone(self, now: float, flight: Flight) -> None:
        """A client has left."""
        if self._flights.pop(flight.request.id, None) is None:
            return
        if flight.engine is not None:
            flight.engine.cancel(flight.request, now)
            self._watch(flight.engine)
        self._apply(self._scheduler.cancel(flight.request.id, now), now)

    def _arrive(self, now: float, flight: Flight) -> None:
        planned, request = flight.exchange.request, flight.request
        chat = flight.chat
        self._flights[request.id] = flight
        if not self._ticking:
            self._ticking = True
            self._events.at(now + _TICK, self._tick, None)
        decisions = self._scheduler.submit(
            Request(
                request.id,
                Kind.LLM if chat else Kind.EMBEDDING,
                CHAT_MODEL if chat else EMBEDDING_MODEL,
                now,
                planned.prompt_tokens * planned.batch,
                request.output if chat and self._tells_output else 0,
                planned.priority,
                planned.tenant,
                planned.slo,
                planned.blocks,
                Terms(planned.priority).cls,
                flight.exchange.streamed,
                min(planned.prompt_tokens, self._hash_tokens * len(planned.blocks)),
            ),
            now,
        )
        if decisions:
            self._apply(decisions, now)
        if flight.engine is None and request.id in self._flights:
            self._wake_up_in_time(now)

    def _apply(self, decisions: Iterable[Decision], now: float) -> None:
        for decision in decisions:
            flight = self._flights[decision.request_id]
            if isinstance(decision, Dispatch):
                self._dispatch(flight, self._engines[decision.instance_id], now)
            else:
                del self._flights[decision.request_id]
                kind = Failure.REJECTED if decision.status in (429, 503) else Failure.CLIENT_ERROR
                detail = f"status {decision.status}: {decision.reason}"
                self._client.refused(flight, decision.status, kind, detail, now)

    def _dispatch(self, flight: Flight, engine: EngineModel, now: float) -> None:
        if flight.engine is None:
            exchange = flight.exchange
            exchange.queue_ms = max(0.0, (now - exchange.sent - self._lag) * 1000)
        flight.engine = engine
        why = engine.refuses(flight.request)
        if why:
            self._events.at(now + 2 * self._lag, partial(self._refused, why), flight)
            return
        flight.exchange.instance = engine.spec.id
        engine.submit(flight.request, now)
        self._watch(engine)

    def _refused(self, why: str, now: float, flight: Flight) -> None:
        """An engine has answered that a request cannot be served."""
        if self._flights.pop(flight.request.id, None) is not None:
            self._client.refused(flight, 400, Failure.CLIENT_ERROR, f"status 400: {why}", now)
            self._apply(self._scheduler.failed(flight.request.id, now), now)

    def _wake_up_in_time(self, now: float) -> None:
        if self._woken_at is not None:
            return
        wake = self._scheduler.next_wake(now)
        if wake is not None and wake - now < _TICK:
            self._woken_at = max(now + _SHORTEST_NAP, wake)
            self._events.at(self._woken_at, self._woken, None)

    def _woken(self, now: float, _: None) -> None:
        self._woken_at = None
        self._apply(self._scheduler.tick(now), now)
        self._wake_up_in_time(now)

    def _tick(self, now: float, _: None) -> None:
        for name, engine in self._engines.items():
            if now >= self._asked.get(name, now) and self._scheduler.instance(name).running:
                self._asked[name] = now + _TELEMETRY
                told = engine.load()
                if told is not None:
                    decisions = self._scheduler.telemetry(
                        name,
                        now,
                        running=told.running,
                        waiting=told.waiting,
                        kv_used=told.kv_used,
                    )
                    self._apply(decisions, now)
        self._apply(self._scheduler.tick(now), now)
        if self._flights:
            self._events.at(now + _TICK, self._tick, None)
        else:
            self._ticking = False

    # The engines

    def _watch(self, engine: EngineModel) -> None:
        """Look at an engine again when it wants to be."""
        wake = engine.wake
        name = engine.spec.id
        if wake != self._seen[name]:
            self._seen[name] = wake
            if wake < NEVER:
                self._events.at(wake, self._step, engine)

    def _step(self, now: float, engine: EngineModel) -> None:
        if engine.wake != now or self._seen[engine.spec.id] != now:
            return
        emission = engine.step()
        self._seen[engine.spec.id] = NEVER
        self._watch(engine)
        if emission is not None:
            self._events.at(emission.at, self._emit, emission)

    def _emit(self, now: float, emission: Emission) -> None:
        flights, scheduler = self._flights, self._scheduler
        for request in emission.firsts:
            flight = flights.get(request.id)
            if flight is not None and flight.exchange.streamed:
                decisions = scheduler.first_token(request.id, now)
                if decisions:
                    self._apply(decisions, now)
        for request in emission.ended:
            flight = flights.pop(request.id, None)
            if flight is not None:
                self._answered(flight, now)

    def _answered(self, flight: Flight, now: float) -> None:
        request, scheduler = flight.request, self._scheduler
        number = request.id
        prompt = request.prompt * request.texts
        scheduler.usage(number, prompt, request.output, now)
        decisions = scheduler.finished(number, now)
        if decisions:
            self._apply(decisions, now)
        exchange = flight.exchange
        if exchange.failure is not None:
            return
        ended = now + self._lag
        exchange.status = 200
        exchange.prompt_tokens = prompt
        exchange.output_tokens = request.output
        engine = flight.engine
        assert engine is not None
        if engine.log is None or not exchange.streamed:
            exchange.token_times = [ended] if flight.chat else []
        else:
            out = ended - engine.log.times[request.runs[-1][1] - 1]
            exchange.token_times = LoggedTimes(engine.log, request.runs, out)
        self._client.answered(flight, ended)
