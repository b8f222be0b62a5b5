"""uvicorn, set up for the gateway: its own connections, and nothing it has no use for."""

from __future__ import annotations

import contextlib

import uvicorn

from sage.inference.gateway.asgi import ASGIApp
from sage.inference.gateway.http1 import HttpConnection


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
    protocol = type("_Connection", (HttpConnection,), {"head_timeout": head_timeout})
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
