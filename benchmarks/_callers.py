"""Clients of the gateway benchmark: one caller at a time, many streams, many idle connections."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import httptools

_LENGTH = b"content-length: "
_END = b"data: [DONE]\n\n"


def request(port: int, payload: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return a chat request as bytes."""
    body = json.dumps(payload).encode()
    fields = {"host": f"127.0.0.1:{port}", **headers, "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + body


class Caller:
    """One blocking connection: nothing stands between the clock and the socket.

    Args:
        port: to connect to, on this machine.
        data: the request, as bytes.
    """

    def __init__(self, port: int, data: bytes) -> None:
        self._data = data
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self) -> float:
        """Send the request, read the whole answer, and return the seconds it took.

        Raises:
            RuntimeError: the answer is not 200 with a length.
        """
        start = time.perf_counter()
        self._socket.sendall(self._data)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head = received[:end].lower()
        at = head.find(_LENGTH)
        if not head.startswith(b"http/1.1 200") or at < 0:
            raise RuntimeError(f"not an answer of known length: {received[:300]!r}")
        size = end + 4 + int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        while len(received) < size:
            received += self._receive()
        return time.perf_counter() - start

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the connection was closed before the answer's end")
        return data


class Connection(asyncio.Protocol):
    """A keep-alive connection that counts the server-sent events of its answers."""

    def __init__(self) -> None:
        self.events = 0
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[str] | None = None
        self._status = 0
        self._tail = b""

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a port of this machine."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def ask(self, data: bytes) -> asyncio.Future[str]:
        """Send a request; the result is what was wrong with the answer, or nothing."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        self._tail = b""
        if self._transport.is_closing():
            self._end("the connection is closed")
        else:
            self._transport.write(data)
        return waiter

    @property
    def ended_with_done(self) -> bool:
        """Whether the last answer was a stream that ended as one should."""
        return self._tail == _END

    @property
    def is_open(self) -> bool:
        """Whether the gateway has kept it."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _end(self, fault: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(fault)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"not HTTP: {error}")
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost: {exc}")

    # httptools

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        # One byte back: an event's two line feeds may come in two reads.
        self.events += (self._tail[-1:] + body).count(b"\n\n")
        self._tail = (self._tail + body)[-len(_END) :]

    def on_message_complete(self) -> None:
        self._end("" if self._status == 200 else f"status {self._status}")


@dataclass
class Tally:
    """What a crowd of requests came to.

    Attributes:
        asked: requests that were sent.
        events: server-sent events that came back, ``[DONE]`` among them.
        faults: each kind of failure, with its number.
    """

    asked: int = 0
    events: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.faults.values())

    def fault(self, what: str) -> None:
        """Count a failure."""
        self.faults[what] = self.faults.get(what, 0) + 1


async def stream(connection: Connection, data: bytes, expected: int, tally: Tally) -> None:
    """Ask for one stream, read it to its end, and judge it."""
    before = connection.events
    tally.asked += 1
    fault = await connection.ask(data)
    events = connection.events - before
    tally.events += events
    if not fault and not connection.ended_with_done:
        fault = "the stream ended without [DONE]"
    elif not fault and events < expected:
        fault = f"{events} events of {expected}"
    if fault:
        tally.fault(fault)


async def streams(port: int, data: bytes, *, at_once: int, seconds: float, expected: int) -> Tally:
    """Keep so many streams going, each from its beginning to its end.

    Args:
        port: of the gateway.
        data: the request.
        at_once: connections, each with one stream at a time.
        seconds: after which no new stream begins; 0 for one on each connection.
        expected: events of one stream.
    """
    tally = Tally()
    clock = asyncio.get_running_loop().time
    until = clock() + seconds

    async def one(number: int) -> None:
        # Spread out, as streams are that begin at moments of their own.
        await asyncio.sleep(number * 0.0005)
        try:
            connection = await Connection.open(port)
        except OSError as error:
            tally.asked += 1
            tally.fault(f"not connected: {error}")
            return
        try:
            while True:
                await stream(connection, data, expected, tally)
                if clock() >= until or not connection.is_open:
                    return
        finally:
            connection.close()

    async with asyncio.TaskGroup() as group:
        for number in range(at_once):
            group.create_task(one(number))
    return tally


async def for_each(count: int, width: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Run ``work`` for 0 to ``count`` - 1, so many at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
