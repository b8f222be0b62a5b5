"""The clients of a simulation: when requests leave, and what of their answers they see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from sage.benchmark.agenda import Agenda
from sage.benchmark.classes import TrafficClass
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.simulate.engine_request import EngineModel, EngineRequest
from sage.benchmark.simulate.events import NEVER, Events
from sage.benchmark.workload import PlannedRequest

_UNLIMITED = 1 << 60


class Flight:
    """A request on its way: what the client, the gateway and the engine each know of it.

    Attributes:
        exchange: the client's.
        request: the engine's.
        chat: whether it is a chat request.
        engine: where it was sent; None before.
    """

    __slots__ = ("chat", "engine", "exchange", "request")

    def __init__(self, exchange: Exchange, request: EngineRequest) -> None:
        self.exchange = exchange
        self.request = request
        self.chat = exchange.request.traffic is TrafficClass.CHAT
        self.engine: EngineModel | None = None


class Client:
    """Issues requests as they are due, whatever the answers do, or in a closed loop.

    Args:
        events: of the simulation.
        arrive: called when a request reaches the gateway.
        gone: called when the gateway sees that a client has left.
        lag: seconds to the gateway, one way.
        timeout_s: seconds after which a request is given up.
        max_in_flight: at most so many are out at once; the others wait here.
        on_answer: called with each exchange that has ended.

    Attributes:
        due: when the next request reaches the gateway by itself; infinite in a closed loop.
        exchanges: those that were issued.
    """

    def __init__(
        self,
        events: Events,
        arrive: Callable[[float, Flight], None],
        gone: Callable[[float, Flight], None],
        *,
        lag: float,
        timeout_s: float,
        max_in_flight: int | None,
        on_answer: Callable[[Exchange], None] | None,
    ) -> None:
        self._events = events
        self._arrive = arrive
        self._gone = gone
        self._lag = lag
        self._timeout_s = timeout_s
        self._slots = max_in_flight or _UNLIMITED
        self._on_answer = on_answer
        self._agenda = Agenda()
        self._held: deque[tuple[PlannedRequest, float]] = deque()
        self._deadlines: deque[Flight] = deque()
        self._out = 0
        self._users = 0
        self._think_s = 0.0
        # With neither slots nor users nothing here waits for an answer: fewer events will do.
        self._free = True
        self.due = NEVER
        self.exchanges: list[Exchange] = []

    def begin(self, requests: Sequence[PlannedRequest], users: int, think_s: float) -> None:
        """Take the requests, as `Agenda` does, and send a closed loop's first."""
        self._agenda = Agenda(requests)
        self._users, self._think_s = users, think_s
        self._free = not users and self._slots == _UNLIMITED
        if users:
            for _ in range(min(users, len(requests))):
                self._issue(self._agenda.take(), 0.0)
        else:
            self._look_ahead()

    def send_next(self) -> None:
        """Issue the request that is due."""
        due, gateway_at = self._agenda.next_at, self.due
        planned = self._agenda.take()
        if self._free:
            self._arrive(gateway_at, self._flight(planned, due, due))
        elif self._out < self._slots:
            self._issue(planned, due)
        else:
            self._held.append((planned, due))
        self._look_ahead()

    def answered(self, flight: Flight, ended: float) -> None:
        """The last byte of a good answer is here at ``ended``."""
        if self._free and ended <= flight.exchange.sent + self._timeout_s:
            self._complete(ended, flight)
        else:
            self._events.at(ended, self._complete, flight)

    def refused(self, flight: Flight, status: int, kind: Failure, detail: str, now: float) -> None:
        """The gateway answers with an error now; it is here a hop later."""
        if flight.exchange.failure is None:
            flight.exchange.status = status
            self._events.at(now + self._lag, partial(self._failed, kind, detail), flight)

    def _look_ahead(self) -> None:
        self.due = self._agenda.next_at + (self._lag if self._free else 0.0)

    def _issue(self, planned: PlannedRequest, now: float, intended: float | None = None) -> None:
        flight = self._flight(planned, now, now if intended is None else intended)
        self._events.at(now + self._lag, self._arrive, flight)

    def _flight(self, planned: PlannedRequest, now: float, intended: float) -> Flight:
        exchange = Exchange(planned, intended=intended, ready=now)
        exchange.sent = now
        self.exchanges.append(exchange)
        self._out += 1
        request = EngineRequest(
            len(self.exchanges),
            planned.prompt_tokens,
            planned.output_tokens if planned.traffic is TrafficClass.CHAT else 0,
            planned.batch,
            planned.priority,
            planned.blocks,
        )
        flight = Flight(exchange, request)
        if self._timeout_s < NEVER:
            if not self._deadlines:
                self._events.at(now + self._timeout_s, self._give_up, None)
            self._deadlines.append(flight)
        return flight

    def _give_up(self, now: float, _: None) -> None:
        """Leave those whose time is over, and look again when the next one's is."""
        waiting = self._deadlines
        while waiting:
            flight = waiting[0]
            exchange = flight.exchange
            if is_out(exchange):
                due = exchange.sent + self._timeout_s
                if due > now:
                    self._events.at(due, self._give_up, None)
                    return
                exchange.fail(Failure.TIMEOUT, f"no whole answer in {self._timeout_s:g} s", now)
                self._ended(now, flight)
                self._events.at(now + self._lag, self._gone, flight)
            waiting.popleft()

    def _complete(self, now: float, flight: Flight) -> None:
        if flight.exchange.failure is None:
            flight.exchange.ended = now
            self._ended(now, flight)

    def _failed(self, kind: Failure, detail: str, now: float, flight: Flight) -> None:
        if flight.exchange.failure is None:
            flight.exchange.fail(kind, detail, now)
            self._ended(now, flight)

    def _ended(self, now: float, flight: Flight) -> None:
        self._out -= 1
        if self._on_answer is not None:
            self._on_answer(flight.exchange)
        if self._users:
            if self._agenda.left:
                self._events.at(now + self._think_s, self._next_of_user, None)
        elif self._held:
            planned, intended = self._held.popleft()
            self._issue(planned, now, intended)
        if self._agenda.ended(flight.exchange.request, now):
            self._look_ahead()

    def _next_of_user(self, now: float, _: None) -> None:
        if self._agenda.left:
            self._issue(self._agenda.take(), now)


def is_out(exchange: Exchange) -> bool:
    """Whether an exchange has not ended; one that is refused at the moment 0 has."""
    return not exchange.ended and exchange.failure is None
