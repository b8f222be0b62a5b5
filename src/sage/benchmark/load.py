"""The load: sends each request when it is due, whatever the answers do.

A request that is late to leave, because the client was slow or all slots were taken, still counts
from when it should have left; leaving that out is known as coordinated omission (Gil Tene).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sage.benchmark.agenda import NEVER, Agenda
from sage.benchmark.alarm import Alarm, make_alarm
from sage.benchmark.connection import LoadConnection
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.inference.gateway.errors import ConnectFailedError
from sage.inference.gateway.target import Target, dial

_BEAT_S = 0.02
_IDLE_S = 4.0  # servers close idle connections from 5 s on


@dataclass(slots=True)
class LoadResult:
    """What a load did, in seconds of its clock.

    Attributes:
        exchanges: those that were issued, in the order they left.
        unsent: requests that were due after the run was broken off.
        began: the moment that offsets count from.
        cpu_s: CPU time of the load's own thread.
        wall_s: how long it took.
        beats: how late a regular timer of the load fired each time.
        connections: how many were made.
        sending_cpu_s: of that CPU time, what was used until the last request left.
        sending_s: how long that took.
    """

    exchanges: list[Exchange]
    unsent: int
    began: float
    cpu_s: float
    wall_s: float
    beats: list[float] = field(repr=False)
    connections: int = 0
    sending_cpu_s: float = 0.0
    sending_s: float = 0.0


class Load:
    """Runs one sequence of requests against one server.

    Args:
        target: the server.
        writer: makes the bytes.
        timeout_s: seconds from sending until an answer is given up.
        max_in_flight: at most so many out at once; the others wait their turn.
        on_answer: called with each exchange that has ended, for a progress display.
        clock: seconds, monotonic.
        alarm: makes the timer that requests leave by, from the event loop and what is to be done.
    """

    def __init__(
        self,
        target: Target,
        writer: RequestWriter,
        *,
        timeout_s: float = 120.0,
        max_in_flight: int | None = None,
        on_answer: Callable[[Exchange], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        alarm: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm] = make_alarm,
    ) -> None:
        self.clock = clock
        self._make_alarm = alarm
        self._target = target
        self._writer = writer
        self._timeout_s = timeout_s
        self._slots = max_in_flight or 1 << 60
        self._on_answer = on_answer
        self._idle: list[LoadConnection] = []
        self._open: set[LoadConnection] = set()
        self._carrying: dict[Exchange, LoadConnection | None] = {}
        self._dialling: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[PlannedRequest, float]] = deque()
        self._issued: list[Exchange] = []
        self._deadlines: deque[Exchange] = deque()
        self._agenda = Agenda()
        self._users = 0
        self._think_s = 0.0
        self._began = 0.0
        self._thinking: set[asyncio.TimerHandle] = set()
        self._beats: list[float] = []
        self._connections = 0
        self._sending = (0.0, 0.0)
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop
        self._alarm: Alarm
        self._finished: asyncio.Event
        self._closed: asyncio.Event

    async def run(
        self, requests: Sequence[PlannedRequest], *, users: int = 0, think_s: float = 0.0
    ) -> LoadResult:
        """Issue every request and wait for every answer.

        Args:
            requests: those that follow no other in the order they are due.
            users: 0 for an open loop; else a closed one, in which so many users each send the
                next request when the answer before has come.
            think_s: seconds such a user waits in between.
        """
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._closed = asyncio.Event()
        self._alarm = self._make_alarm(self._loop, self._pump)
        self._agenda = Agenda(requests)
        self._users, self._think_s = users, think_s
        # What the load allocates has no cycles, and a collection would stand in its way.
        gc.collect()
        collecting = gc.isenabled()
        gc.disable()
        started, self._began = time.thread_time(), self.clock()
        self._sending = (started, self._began)
        self._beat(self._began)
        if users:
            for _ in range(min(users, len(requests))):
                self._next_of_user()
        else:
            self._pump()
        try:
            if not self._is_over():
                await self._finished.wait()
            wall = self.clock() - self._began
            cpu = time.thread_time() - started
        finally:
            if collecting:
                gc.enable()
            self._stopped = True
            await self._close()
        return LoadResult(
            self._issued,
            self._agenda.left + len(self._waiting),
            self._began,
            cpu,
            wall,
            self._beats,
            self._connections,
            self._sending[0] - started,
            self._sending[1] - self._began,
        )

    def stop(self) -> None:
        """Break the run off: what is in flight is given up, what was answered stays."""
        self._stopped = True
        for exchange in list(self._carrying):
            exchange.interrupted = True
            exchange.ended = self.clock()
        self._carrying.clear()
        self._finished.set()

    async def _close(self) -> None:
        self._alarm.close()
        for timer in self._thinking:
            timer.cancel()
        for task in self._dialling:
            task.cancel()
        if self._dialling:
            await asyncio.wait(self._dialling)
        self._closed.clear()
        for connection in list(self._open):
            connection.close()
        if self._open:
            await self._closed.wait()

    def _is_over(self) -> bool:
        return not (self._agenda.left or self._waiting or self._carrying or self._thinking)

    # When requests leave

    def _pump(self) -> None:
        """Send what is due, and come back when the next one is."""
        agenda = self._agenda
        while not self._stopped and (at := agenda.next_at) < NEVER:
            due = self._began + at
            left = due - self.clock()
            if left > 0:
                self._alarm.set(left)
                return
            request = agenda.take()
            if len(self._carrying) < self._slots:
                self._send(request, due, due)
            else:
                self._waiting.append((request, due))

    def _next_of_user(self) -> None:
        if self._agenda.left and not self._stopped:
            now = self.clock()
            self._send(self._agenda.take(), now, now)

    def _after_thinking(self) -> None:
        handle: asyncio.TimerHandle

        def go() -> None:
            self._thinking.discard(handle)
            self._next_of_user()
            if self._is_over():
                self._finished.set()

        handle = self._loop.call_later(self._think_s, go)
        self._thinking.add(handle)

    def _send(self, request: PlannedRequest, intended: float, ready: float) -> None:
        exchange = Exchange(request, intended=intended, ready=ready)
        data = self._writer.write(request)
        exchange.sent = now = self.clock()
        if not (self._agenda.left or self._waiting):
            self._sending = (time.thread_time(), now)
        self._issued.append(exchange)
        self._deadlines.append(exchange)
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable and now - connection.idle_since < _IDLE_S:
                self._carrying[exchange] = connection
                connection.start(exchange, data)
                return
            connection.close()
        self._carrying[exchange] = None
        task = self._loop.create_task(self._dial(exchange, data))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, exchange: Exchange, data: bytes) -> None:
        made: list[LoadConnection] = []

        def factory() -> LoadConnection:
            made.append(LoadConnection(self))
            return made[-1]

        try:
            connection = await dial(self._target, factory, self._timeout_s)
        except asyncio.CancelledError:
            # uvloop drops a connection made meanwhile without a word to its protocol.
            self._open.difference_update(made)
            raise
        except ConnectFailedError as error:
            if exchange in self._carrying:
                exchange.fail(Failure.CONNECT, str(error), self.clock())
                self._ended(exchange)
            return
        if exchange not in self._carrying:
            connection.close()
            return
        self._carrying[exchange] = connection
        connection.start(exchange, data)

    # What comes back

    def opened(self, connection: LoadConnection) -> None:
        """Note a connection, which is to be closed before the event loop is."""
        self._connections += 1
        self._open.add(connection)

    def answered(self, connection: LoadConnection, exchange: Exchange) -> None:
        """Take the connection back and let the next request go."""
        if connection.usable:
            self._idle.append(connection)
        self._ended(exchange)

    def lost(self, connection: LoadConnection) -> None:
        """Forget a connection that closed."""
        self._open.discard(connection)
        if self._stopped and not self._open:
            self._closed.set()
        if connection in self._idle:
            self._idle.remove(connection)

    def _ended(self, exchange: Exchange) -> None:
        if exchange not in self._carrying:
            return
        del self._carrying[exchange]
        if self._on_answer is not None:
            self._on_answer(exchange)
        if self._stopped:
            return
        if self._waiting:
            request, due = self._waiting.popleft()
            self._send(request, due, max(due, exchange.ended))
        elif self._users and self._agenda.left:
            if self._think_s:
                self._after_thinking()
            else:
                self._next_of_user()
        if self._agenda.ended(exchange.request, exchange.ended - self._began):
            self._pump()
        if self._is_over():
            self._finished.set()

    def _beat(self, expected: float) -> None:
        """Give up what has taken too long; how late this comes shows how busy the client is."""
        if self._stopped:
            return
        now = self.clock()
        self._beats.append(max(0.0, now - expected))
        while self._deadlines:
            exchange = self._deadlines[0]
            if not exchange.ended:
                if now - exchange.sent < self._timeout_s:
                    break
                self._expire(exchange)
            self._deadlines.popleft()
        self._loop.call_later(_BEAT_S, self._beat, now + _BEAT_S)

    def _expire(self, exchange: Exchange) -> None:
        detail = f"no whole answer in {self._timeout_s:g} s"
        connection = self._carrying.get(exchange)
        if connection is not None:
            connection.fail(Failure.TIMEOUT, detail)
        else:
            exchange.fail(Failure.TIMEOUT, detail, self.clock())
            self._ended(exchange)
