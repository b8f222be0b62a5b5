"""One request on a server connection, and the response to it."""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from sage.inference.gateway.asgi import Headers, Message

logger = logging.getLogger("sage.gateway")

_HIGH_WATER = 64 * 1024
_JOIN = 16 * 1024
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
STATUS_LINES = {
    code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode() for code in range(100, 600)
}
"""By status."""

_CHUNKED = (b"transfer-encoding", b": ", b"chunked", b"\r\n")
_CLOSE = (b"connection", b": ", b"close", b"\r\n")
_BROKEN = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]


class Line(Protocol):
    """What a reply asks of the connection it belongs to."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def pause_reading(self) -> None:
        """Take no more of the client's bytes for now."""

    def resume_reading(self) -> None:
        """Take the client's bytes again."""

    async def drain(self) -> None:
        """Wait until what was written has left."""

    @property
    def writable(self) -> bool:
        """Whether the client keeps up with what is written."""

    def replied(self, reply: Reply) -> None:
        """Take note that the response is complete."""

    def spawn(self, reply: Reply, work: Coroutine[Any, Any, None]) -> None:
        """Let a task do the rest of a request's work."""


class Reply:
    """Takes a request's body in and writes its response; both as ASGI and without its dicts.

    ``receive`` and ``send`` are ASGI's. ``whole_body``, ``begin``, ``write`` and ``finish`` do the
    same for an app that knows of them (``ClientLink``) without coroutines and messages. The head
    leaves with the first of the body, since each write to a socket is a system call.

    Args:
        line: the connection.
        method: the request's.
        version: its HTTP version; before 1.1 a body of unknown length ends with the connection.
        expects: whether the client waits for 100 Continue before it sends the body.

    Attributes:
        complete: whether the response has been written.
        more_body: whether the rest of the request is yet to come.
        keep_alive: whether the connection serves another request after this one.
        on_gone: called when the client leaves before the response is complete.
        message: the whole request as it came, when it came in one piece and its head may be
            known again; else None.
    """

    __slots__ = (
        "_bodyless",
        "_chunked",
        "_chunks_known",
        "_expects",
        "_head",
        "_left",
        "_line",
        "_parts",
        "_size",
        "_started",
        "_taken",
        "_transport",
        "_waiter",
        "complete",
        "gone",
        "keep_alive",
        "message",
        "more_body",
        "on_gone",
    )

    def __init__(self, line: Line, method: str, version: str, *, expects: bool) -> None:
        self.keep_alive = False
        self.complete = self.gone = False
        self.more_body = True
        self.on_gone: Callable[[], None] | None = None
        self.message: bytes | None = None
        self._line = line
        self._transport = line.transport
        self._expects = expects
        self._parts: list[bytes] = []
        self._size = 0
        self._taken = False
        self._waiter: asyncio.Future[None] | None = None
        self._started = False
        self._bodyless = method == "HEAD"
        self._chunks_known = version == "1.1"
        self._chunked = False
        self._left: int | None = None
        self._head = b""

    async def run(self, work: Awaitable[None]) -> None:
        """Wait for who answers, and answer in its place when it fails to."""
        try:
            await work
        except asyncio.CancelledError:
            self.give_up()
            raise
        except Exception:
            if not self.gone:
                logger.exception("a request's handler failed")
                self.give_up()
        else:
            if not (self.complete or self.gone):
                logger.error("a request's handler returned without completing its response")
                self.give_up()

    def give_up(self) -> None:
        """End a response that cannot be completed: with a 500, if it was not begun."""
        if self.complete or self.gone:
            return
        if self._started:
            self.abort()
        else:
            self.begin(500, _BROKEN)
            self.finish(b"Internal Server Error")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a task go on with the request."""
        self._line.spawn(self, work)

    # The connection's side

    def take_whole(self) -> None:
        """The body came whole, with the head, and was handed over with it."""
        self.more_body = False
        self._taken = True

    def feed(self, data: bytes) -> None:
        """Take in a piece of the body; dropped once the response is complete."""
        if self.complete:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > _HIGH_WATER:
            self._line.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """The body is whole."""
        self.more_body = False
        self._wake()

    def lost(self) -> None:
        """The client has left."""
        self.gone = True
        self._wake()
        left, self.on_gone = self.on_gone, None
        if left is not None:
            left()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The request

    def whole_body(self) -> bytes | None:
        """Return the body if all of it is here and none was taken before; None otherwise."""
        if self.more_body or self._taken or self.gone:
            return None
        self._taken = True
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._caught_up()
        return body

    async def receive(self) -> Message:
        """Return the next ASGI message: what has come of the body, then ``http.disconnect``."""
        if self._expects:
            self._expects = False
            if self.more_body and not self._started:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.gone or self.complete):
            if self._parts or not (self.more_body or self._taken):
                body = b"".join(self._parts)
                self._parts.clear()
                self._taken = not self.more_body
                self._caught_up()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            self._waiter = self._line.loop.create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    def _caught_up(self) -> None:
        # Reading goes on also when nothing more is to come, or nobody would notice a client leave.
        if self._size > _HIGH_WATER:
            self._line.resume_reading()
        self._size = 0

    # The response

    async def send(self, message: Message) -> None:
        """Write an ASGI message."""
        if not self._line.writable:
            await self._line.drain()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self.begin(message["status"], message.get("headers", []))
            self._line.loop.call_soon(self.flush)
        elif kind != "http.response.body":
            raise RuntimeError(f"ASGI message {kind!r} is none that a response can have")
        elif message.get("more_body", False):
            self.write(message.get("body", b""))
        else:
            self.finish(message.get("body", b""))

    def begin(self, status: int, headers: Headers) -> None:
        """Set the head down; it leaves with the first of the body, or by ``flush``.

        Raises:
            RuntimeError: the response was begun before, or a header holds a line break.
        """
        if self._started:
            raise RuntimeError("a response was begun twice")
        parts = [STATUS_LINES[status]]
        for name, value in headers:
            if name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self._left = int(value)
        if status in (204, 304):
            self._bodyless = True
        if self._left is None and not self._bodyless:
            if self._chunks_known:
                self._chunked = True
                parts += _CHUNKED
            else:
                self.keep_alive = False
        if not self.keep_alive:
            parts += _CLOSE
        parts.append(b"\r\n")
        head = b"".join(parts)
        # Every header is four parts, and there is a line break before, between and after them.
        lines = (len(parts) - 2) // 4 + 2
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("a response header holds a line break")
        self._started = True
        self._head = head

    def write(self, data: bytes) -> bool:
        """Write a piece of the body; return whether the client keeps up, else ``drain`` first.

        Raises RuntimeError when it is longer than the content-length announced.
        """
        if data and not (self._bodyless or self.gone):
            self._count(len(data))
            self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return self._line.writable

    def finish(self, data: bytes) -> None:
        """Write the last piece of the body, and end.

        Raises RuntimeError when the body is not as long as the content-length announced.
        """
        if self._bodyless:
            self.flush()
        elif self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
            self._put(last)
        else:
            self._count(len(data))
            if self._left:
                raise RuntimeError(f"a response ended {self._left} bytes before its length")
            self._put(data)
        self._completed()

    def _completed(self) -> None:
        self.complete = True
        self.on_gone = None
        self._parts.clear()
        if self._waiter is not None:
            self._wake()
        self._line.replied(self)

    def respond(self, head: bytes, body: bytes) -> None:
        """Write a whole response.

        Args:
            head: status line and headers, with the body's length, without the empty line.
            body: as long as the head says.
        """
        self._started = True
        if not self.keep_alive:
            head += b"connection: close\r\n"
        self._head = head + b"\r\n"
        self._put(body)
        self._completed()

    def flush(self) -> None:
        """Let the head leave now, if it has not."""
        head, self._head = self._head, b""
        if head and not self.gone:
            self._transport.write(head)

    async def drain(self) -> None:
        """Wait until what was written has left."""
        await self._line.drain()

    def abort(self) -> None:
        """Close the client's connection at once, cutting the response short."""
        self._head = b""
        self._transport.abort()

    def _count(self, size: int) -> None:
        if self._left is not None:
            if size > self._left:
                raise RuntimeError(f"a response is {size - self._left} bytes over its length")
            self._left -= size

    def _put(self, data: bytes) -> None:
        head = self._head
        if not head:
            self._transport.write(data)
        else:
            self._head = b""
            if len(data) < _JOIN:
                self._transport.write(head + data)
            else:
                self._transport.writelines((head, data))
