"""The pooled keep-alive HTTP/1.1 client towards one engine."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from sage.inference.gateway.connection import UpstreamConnection
from sage.inference.gateway.errors import ConnectionBrokenError, InstanceLostError
from sage.inference.gateway.known_heads import KnownHeads
from sage.inference.gateway.response import ResponseHead, UpstreamResponse
from sage.inference.gateway.target import Target, dial

_STALE_WINDOW = 1.0


class Upstream:
    """Connections to one origin, reused last in, first out.

    A request whose *reused* connection ends before any byte of an answer, within a second of
    being sent, is sent once more on a fresh connection. That is the signature of an engine that
    closed an idle connection while the request was on its way, so it did not process it. In all
    other cases (a fresh connection, any byte received, later than a second, a timeout) the engine
    may have worked on the request, and the error is raised.

    Args:
        target: where the engine listens.
        connect_timeout: seconds to make a connection, over all addresses of the name.
        keepalive: seconds after which an idle connection is not used any more; below the 5 s
            after which common engine servers close theirs.
        max_idle: how many idle connections are kept.
        tls: used for https targets in place of the system's default context.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        target: Target,
        *,
        connect_timeout: float = 5.0,
        keepalive: float = 4.0,
        max_idle: int = 256,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._max_idle = max_idle
        self._tls = tls
        self._clock = clock
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._retired = False
        self._heads: KnownHeads[ResponseHead] = KnownHeads()

    @property
    def idle(self) -> int:
        """How many connections wait for work."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """How many connections there are, idle or at work."""
        return len(self._open)

    async def request(
        self, head: bytes, body: bytes = b"", *, bodyless: bool = False
    ) -> UpstreamResponse:
        """Send a request and return the response once its head has come.

        Args:
            head: request line and headers, with the empty line.
            body: as long as the head says.
            bodyless: the response has no body whatever its headers say (HEAD).

        Raises:
            ConnectFailedError: no connection; the engine has seen nothing of the request.
            ConnectionBrokenError: the connection ended before the head.
            InstanceLostError: `give_up` was called before the head had come.
            MalformedResponseError: what came is not HTTP/1.1.
        """
        response = self.send_now(head, body, bodyless=bodyless)
        if response is not None:
            return await self.answered(response, head, body, bodyless=bodyless)
        return await self._request_afresh(head, body, bodyless)

    def send_now(
        self, head: bytes, body: bytes, *, bodyless: bool = False
    ) -> UpstreamResponse | None:
        """Send a request over an idle connection; None, and nothing done, when there is none."""
        connection = self._reuse()
        if connection is None:
            return None
        response = connection.send(head, body, bodyless=bodyless)
        response.sent_at = self._clock()
        return response

    async def answered(
        self, response: UpstreamResponse, head: bytes, body: bytes, *, bodyless: bool = False
    ) -> UpstreamResponse:
        """Return the response to what ``send_now`` has sent, once its head has come.

        Raises as ``request`` does.
        """
        try:
            await response.head()
        except ConnectionBrokenError:
            if response.arrivals or self._clock() - response.sent_at > _STALE_WINDOW:
                raise
        except BaseException:
            response.abort()
            raise
        else:
            return response
        return await self._request_afresh(head, body, bodyless)

    async def _request_afresh(self, head: bytes, body: bytes, bodyless: bool) -> UpstreamResponse:
        connection = await self._connect()
        response = connection.send(head, body, bodyless=bodyless)
        try:
            await response.head()
        except BaseException:
            connection.abort()
            raise
        return response

    def expire(self) -> None:
        """Close connections that have been idle for too long."""
        oldest = self._clock() - self._keepalive
        stale = [connection for connection in self._idle if connection.idle_since < oldest]
        if stale:
            self._idle = [c for c in self._idle if c.idle_since >= oldest]
            for connection in stale:
                connection.abort()

    def retire(self) -> None:
        """Let what runs end, and keep no connection after that."""
        self._retired = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def give_up(self) -> None:
        """Close every connection; what was asked over it fails with `InstanceLostError`."""
        self._idle.clear()
        for connection in list(self._open):
            connection.give_up(InstanceLostError())

    def close(self) -> None:
        """Close every connection, with whatever runs over it."""
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    def _reuse(self) -> UpstreamConnection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable and self._clock() - connection.idle_since < self._keepalive:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> UpstreamConnection:
        connection = await dial(
            self.target,
            lambda: UpstreamConnection(self._heads, self._released, self._lost),
            self._connect_timeout,
            self._tls,
        )
        self._open.add(connection)
        return connection

    def _released(self, connection: UpstreamConnection) -> None:
        if self._retired or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = self._clock()
        self._idle.append(connection)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
