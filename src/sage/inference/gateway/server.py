"""uvicorn, set up for the gateway: a lean hot path, and request heads bounded."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sage.inference.gateway.asgi import CLIENT_EXTENSION, ASGIApp

_HEAD_LIMIT = 64 * 1024


class HoldingWriter:
    """Stands between a response and its transport, so that head and body can be one write.

    uvicorn writes them apart, and each write to a socket is a system call; with the body at
    hand that is a sixth of what a whole request costs.
    """

    __slots__ = ("_held", "_holding", "_transport", "abort", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.abort = transport.abort
        self.is_closing = transport.is_closing
        self._transport = transport
        self._holding = False
        self._held = b""

    def hold(self) -> None:
        """Keep the next write back until the one after it."""
        self._holding = True

    def write(self, data: bytes) -> None:
        """Write, or keep back."""
        if self._holding:
            self._holding = False
            self._held = data
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what was kept back and close."""
        self._holding = False
        if self._held:
            self.write(b"")
        self._transport.close()


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with a limit in time and size on request heads.

    uvicorn arms no timer on a connection until its first response, and drops its keep-alive
    timer at the first byte of the next request; a client that sends its head slowly, or never,
    would hold a connection for ever. Here a connection without a request being served has
    ``head_timeout`` seconds to send a whole head, from when it opened or sent its first byte;
    the rest of a body that was answered early (413) is read and dropped for as long, so that the
    client gets to see the answer.
    It also lets the app close the client's connection, to cut a response short.
    """

    head_timeout = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Start the time limit of the first head."""
        super().connection_made(transport)
        self._link = HoldingWriter(transport)
        self._extensions = {CLIENT_EXTENSION: self._link}
        self._arm_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and bound what is not a whole head yet."""
        was_in_body = self._in_body
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            if not (was_in_body or self._in_body):
                self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                self.transport.abort()
            elif self._head_timer is None and self.timeout_keep_alive_task is None:
                self._arm_head_timer()

    def on_message_begin(self) -> None:
        """Give the app its way to close the connection."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item] # our own key

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_bytes = 0
        self._in_body = True
        if self._head_timer is not None:
            self._stop_head_timer()
        super().on_headers_complete()
        # The cycle's task has not run yet, so it writes everything through the link.
        self.cycle.transport = cast("asyncio.Transport", self._link)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._in_body = False
        super().on_message_complete()

    def _arm_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        self.transport.abort()


class _DeafServer(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override] # wider
        """Handle none."""
        return contextlib.nullcontext()


def build_server(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    head_timeout: float = 30.0,
    keep_alive_timeout: int = 75,
    shutdown_timeout: int = 10,
    backlog: int = 2048,
    signals: bool = True,
) -> uvicorn.Server:
    """Return a server for the gateway.

    ``server.run()`` makes its own uvloop event loop; ``await server.serve()`` uses the running
    one, for which ``asyncio.Runner(loop_factory=server.config.get_loop_factory())`` makes uvloop.

    It writes no access log and no Date or Server header, reads no proxy headers and speaks no
    WebSocket. uvicorn's loggers are left as they are.

    Args:
        app: ``Gateway.app``.
        host: address to listen on.
        port: TCP port; 0 for any free one.
        uds: path of a Unix socket to listen on instead.
        head_timeout: seconds a client has to send a request's head.
        keep_alive_timeout: seconds an idle connection is kept after a response.
        shutdown_timeout: seconds that running requests get when the server stops.
        backlog: connections the system holds before they are accepted.
        signals: whether SIGINT and SIGTERM stop it while it serves in the main thread.
    """
    protocol = type("_Protocol", (BoundedHeadProtocol,), {"head_timeout": head_timeout})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        uds=uds,
        loop="auto",
        http=protocol,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=keep_alive_timeout,
        timeout_graceful_shutdown=shutdown_timeout,
        backlog=backlog,
    )
    return uvicorn.Server(config) if signals else _DeafServer(config)
