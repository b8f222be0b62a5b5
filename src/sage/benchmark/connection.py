"""One keep-alive HTTP/1.1 connection of the load: no tasks, no futures, one clock read a packet."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from sage.benchmark.exchange import Exchange, Failure

_INSTANCE_HEADER = b"x-sage-instance"
_QUEUE_HEADER = b"x-sage-queue-ms"
_LENGTHS = (len(_INSTANCE_HEADER), len(_QUEUE_HEADER))


class Pool(Protocol):
    """What a connection tells its owner."""

    clock: Callable[[], float]

    def opened(self, connection: LoadConnection) -> None:
        """The connection is there."""

    def answered(self, connection: LoadConnection, exchange: Exchange) -> None:
        """The exchange has ended; the connection is free, unless it is closing."""

    def lost(self, connection: LoadConnection) -> None:
        """The connection is gone."""


class LoadConnection(asyncio.Protocol):
    """Carries one exchange at a time.

    Attributes:
        idle_since: when it last became free.
    """

    def __init__(self, pool: Pool) -> None:
        self.idle_since = 0.0
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._now = 0.0
        self._complete = False
        self._keep_alive = False

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return not self._transport.is_closing()

    def start(self, exchange: Exchange, data: bytes) -> None:
        """Send a request; its answer goes into the exchange."""
        self._exchange = exchange
        self._transport.write(data)

    def fail(self, failure: Failure, detail: str) -> None:
        """Give up what is in flight, and the connection with it."""
        self._end(failure, detail)
        self._transport.abort()

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, all of it at one moment."""
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()
            return
        self._now = self._pool.clock()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(Failure.MALFORMED, f"not an HTTP/1.1 response: {error.__context__ or error}")
            return
        if self._complete:
            self._complete = False
            self._exchange = None
            exchange.complete(self._now)
            if not self._keep_alive:
                self._transport.close()
            self.idle_since = self._now
            self._pool.answered(self, exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that was not complete has failed."""
        cause = f": {exc}" if exc else ""
        self._end(Failure.DISCONNECTED, f"the connection closed before the answer's end{cause}")
        self._pool.lost(self)

    def _end(self, failure: Failure, detail: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._transport.close()
            exchange.fail(failure, detail, self._pool.clock())
            self._pool.answered(self, exchange)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note which instance answers, and how long the request waited in the gateway's queue."""
        if len(name) not in _LENGTHS:
            return
        name = name.lower()
        assert self._exchange is not None
        if name == _INSTANCE_HEADER:
            self._exchange.instance = value.decode("latin-1")
        elif name == _QUEUE_HEADER:
            # Another server's header of that name may hold anything.
            with contextlib.suppress(ValueError):
                waited = float(value)
                self._exchange.queue_ms = waited if 0 <= waited < math.inf else None

    def on_headers_complete(self) -> None:
        """Note the status; an informational one is overwritten by the final one."""
        assert self._exchange is not None
        self._exchange.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Pass body bytes on."""
        assert self._exchange is not None
        self._exchange.feed(body, self._now)

    def on_message_complete(self) -> None:
        """The answer is whole, unless this was an informational one."""
        assert self._exchange is not None
        self._complete = self._exchange.status >= 200
        self._keep_alive = self._parser.should_keep_alive()
