"""An engine's answer while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sage.errors import UpstreamError
from sage.inference.gateway.asgi import Headers

HIGH_WATER = 256 * 1024
"""Unread body bytes above which the connection stops reading until they are taken."""


class _Source(Protocol):
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def abort(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head as it was understood.

    Attributes:
        status: HTTP status.
        headers: names in lower case, in the order they came, without the length.
        lines: status line and headers as a client gets them, but for the length.
        plain: whether a client gets the body behind ``lines`` and its length as it came.
    """

    status: int
    headers: Headers
    lines: bytes
    plain: bool


class UpstreamResponse:
    """Filled by the connection, read by one reader.

    Attributes:
        status: HTTP status; 0 until the head has come.
        headers: names in lower case, in the order they came.
        complete: whether the whole body has arrived (it may not have been read yet).
        arrivals: how often bytes have come; 0 means that the engine has not begun to answer.
        buffered: bytes of the body that have arrived and not been read.
        passed: the piece of the body that ``pump`` passed on last.
        known: what was made of the same head before; None when it was parsed.
        sent_at: when the request was sent, in seconds of the connection pool's clock.
        listener: called when something has come, in place of whoever waits.
    """

    __slots__ = (
        "_chunks",
        "_error",
        "_full",
        "_sink",
        "_source",
        "_waiter",
        "arrivals",
        "buffered",
        "complete",
        "headers",
        "known",
        "listener",
        "passed",
        "sent_at",
        "status",
    )

    def __init__(self, source: _Source) -> None:
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self.arrivals = 0
        self.buffered = 0
        self.passed = b""
        self.known: ResponseHead | None = None
        self.sent_at = 0.0
        self.listener: Callable[[UpstreamResponse], None] | None = None
        self._source = source
        self._full = False
        self._sink: Callable[[bytes], bool] | None = None
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended early."""
        return self._error is not None

    async def head(self) -> None:
        """Wait until status and headers are there.

        Raises:
            ConnectionBrokenError: the connection ended first.
            MalformedResponseError: what came is not HTTP/1.1.
        """
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """Return the next bytes of the body as soon as there are any; b"" at its end.

        Raises:
            ConnectionBrokenError: the connection ended before the body did.
            MalformedResponseError: what came is not HTTP/1.1.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Return what has come of the body and was not read; b"" when that is nothing."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self.buffered > HIGH_WATER and not self.complete:
            self._source.resume()
        self.buffered = 0
        return data

    async def pump(self, sink: Callable[[bytes], bool]) -> bool:
        """Pass the body on as it comes, within the call that receives it.

        Args:
            sink: given each piece but the last; says whether it takes more for now.

        Returns:
            Whether the body is complete, so that its last piece can be read; otherwise the sink
            is full.

        Raises:
            ConnectionBrokenError: the connection ended before the body did.
            MalformedResponseError: what came is not HTTP/1.1.
        """
        while not self.complete:
            if self._chunks:
                self.passed = self.take()
                if not sink(self.passed):
                    return False
                continue
            if self._error is not None:
                raise self._error
            self._sink, self._full = sink, False
            try:
                await self._wait()
            finally:
                self._sink = None
            if self._full:
                return False
        return True

    def abort(self) -> None:
        """Close the connection unless the response is complete; this ends the engine's work."""
        if not self.complete:
            self._source.abort()

    async def _wait(self) -> None:
        self._waiter = self._source.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # The connection's side

    def feed(self, data: bytes) -> None:
        """Add body bytes; the reader is not woken yet."""
        self._chunks.append(data)
        self.buffered += len(data)

    def wake(self) -> None:
        """Let the reader look at what has come, or pass it on."""
        if self.listener is not None:
            self.listener(self)
            return
        sink = self._sink
        if sink is not None and not self.complete and self._chunks and self._error is None:
            self.passed = self.take()
            if sink(self.passed):
                return
            self._sink, self._full = None, True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: UpstreamError) -> None:
        """End the response early; the reader gets what has come, then the error."""
        self._error = error
        self.wake()


class _Nothing:
    """What is behind a response that has arrived whole."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def abort(self) -> None:
        """There is no connection to close."""

    def resume(self) -> None:
        """There is nothing more to read."""


def whole_response(status: int, headers: Headers, body: bytes) -> UpstreamResponse:
    """Return a response that is there already, as if a connection had just completed it."""
    response = UpstreamResponse(_Nothing())
    response.status, response.headers = status, headers
    response.feed(body)
    response.complete = True
    return response
