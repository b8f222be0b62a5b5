"""One keep-alive HTTP/1.1 connection to an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from sage.errors import UpstreamError
from sage.inference.gateway.asgi import Headers
from sage.inference.gateway.errors import ConnectionBrokenError, MalformedResponseError
from sage.inference.gateway.headers import understand_head
from sage.inference.gateway.known_heads import KnownHeads
from sage.inference.gateway.response import HIGH_WATER, ResponseHead, UpstreamResponse

_HEADERS_LIMIT = 64 * 1024


class UpstreamConnection(asyncio.Protocol):
    """Sends one request at a time and parses what comes back.

    Args:
        heads: of responses from the same engine.
        on_idle: called when a response is complete and the connection can serve another.
        on_lost: called once when the connection is gone.
    """

    def __init__(
        self,
        heads: KnownHeads[ResponseHead],
        on_idle: Callable[[UpstreamConnection], None],
        on_lost: Callable[[UpstreamConnection], None],
    ) -> None:
        self.idle_since = 0.0
        self._heads = heads
        # Asking asyncio for the running loop costs a system call; this is asked once.
        self.loop = asyncio.get_running_loop()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: UpstreamResponse | None = None
        self._headers: Headers = []
        self._headers_size = 0
        self._framed = False
        self._bodyless = False
        self._informational = False
        self._keep_alive = False
        self._reading_paused = False
        self._writing_paused = False
        self._extra = False

    def send(self, head: bytes, body: bytes, *, bodyless: bool = False) -> UpstreamResponse:
        """Write a request and return the response to wait on.

        Args:
            head: request line and headers, with the empty line.
            body: as long as the head says.
            bodyless: the response has no body whatever its headers say (HEAD).
        """
        assert self._transport is not None
        response = self._response = UpstreamResponse(self)
        self._bodyless = bodyless
        if self._transport.is_closing():
            response.fail(ConnectionBrokenError("the engine closed the connection"))
        elif len(body) < 16384:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return response

    def resume(self) -> None:
        """Read on after the response's reader has caught up."""
        if self._reading_paused and self.usable and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    def _pause(self) -> None:
        if not self._reading_paused and self.usable and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once, whatever is in flight."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, error: UpstreamError) -> None:
        """Close at once; whoever waits for an answer gets the error."""
        response, self._response = self._response, None
        if response is not None and not response.complete:
            response.fail(error)
        self.abort()

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Note that a request is still being written, so its connection cannot be reused yet."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Note that the request has been written."""
        self._writing_paused = False

    def data_received(self, data: bytes) -> None:
        """Parse, then wake the reader once."""
        response = self._response
        if response is None:
            # Nothing was asked for: an engine that speaks now is out of step.
            self.abort()
            return
        response.arrivals += 1
        first = response.arrivals == 1 and not self._bodyless
        if first and (found := self._heads.find(data)) is not None:
            self._understand(response, data, *found)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not response.complete:
                cause = error.__context__ or error
                response.fail(MalformedResponseError(f"not an HTTP/1.1 response: {cause}"))
            self.abort()
            return
        if response.complete:
            if first:
                self._learn(response, data)
            self._finish()
        elif response.buffered > HIGH_WATER:
            self._pause()
        response.wake()

    def _understand(
        self, response: UpstreamResponse, data: bytes, known: ResponseHead, start: int
    ) -> None:
        """Take in a whole response whose head was parsed before."""
        body = data[start:]
        response.known = known
        response.status = known.status
        response.headers = [*known.headers, (b"content-length", b"%d" % len(body))]
        response.feed(body)
        response.complete = self._keep_alive = True
        self._finish()
        response.wake()

    def _learn(self, response: UpstreamResponse, data: bytes) -> None:
        """Know the head of this whole response again, if it leaves the connection as it was."""
        names = [name for name, _ in response.headers]
        if (
            self._keep_alive
            and not self._extra
            and names.count(b"content-length") == 1
            and b"transfer-encoding" not in names
            # An informational head may come before the one that was understood.
            and data[9:12] == b"%d" % response.status
        ):
            self._heads.learn(data, understand_head(response.status, response.headers))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response: properly if it was to last until the connection's end."""
        response, self._response = self._response, None
        if response is not None and not response.complete:
            if exc is None and response.status and not self._framed:
                response.complete = True
                response.wake()
            else:
                cause = f": {exc}" if exc else ""
                response.fail(ConnectionBrokenError(f"the engine closed the connection{cause}"))
        self._on_lost(self)

    def _finish(self) -> None:
        self._response = None
        assert self._transport is not None
        if self._keep_alive and not self._extra and not self._writing_paused and self.usable:
            self.resume()
            self._on_idle(self)
        else:
            self._transport.close()

    # httptools

    def on_message_begin(self) -> None:
        """Start a response, or notice one too many."""
        if self._response is None or self._response.complete:
            self._extra = True
        self._headers = []
        self._headers_size = 0
        self._framed = False
        self._informational = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        name = name.lower()
        self._headers_size += len(name) + len(value)
        if self._headers_size > _HEADERS_LIMIT:
            raise MalformedResponseError(f"response headers are over {_HEADERS_LIMIT} bytes")
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Publish the head, unless it is an informational one."""
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._informational = True
            return
        if not 200 <= status < 600:
            raise MalformedResponseError(f"response status {status}")
        response = self._response
        if response is None or self._extra:
            return
        response.status = status
        response.headers, self._headers = self._headers, []
        if self._bodyless:
            # The parser would wait for the body that the headers describe.
            self._keep_alive = False
            response.complete = True

    def on_body(self, body: bytes) -> None:
        """Collect body bytes."""
        response = self._response
        if response is not None and not self._bodyless and not self._extra:
            response.feed(body)

    def on_message_complete(self) -> None:
        """End the response."""
        if self._informational or self._response is None or self._extra:
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._response.complete = True
