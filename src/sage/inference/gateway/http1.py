"""The server's side of an HTTP/1.1 connection, as uvicorn runs it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol, cast
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from sage.inference.gateway.asgi import CLIENT_EXTENSION, Headers, Scope
from sage.inference.gateway.known_heads import KnownHeads
from sage.inference.gateway.reply import Reply

logger = logging.getLogger("sage.gateway")

_HEAD_LIMIT = 64 * 1024
_NEVER = float("inf")
_MOST_AHEAD = 8
_NOT_HTTP = b"what came is not an HTTP/1.1 request"
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_NOT_HTTP), _NOT_HTTP)
)


class ShortWay(Protocol):
    """An app's way to serve requests whose heads are known (``Express``)."""

    plans: KnownHeads[Any]

    def serve(self, reply: Reply, plan: Any, body: bytes) -> bool:
        """Serve a request, or return False when it must be parsed and served the long way."""


class HttpConnection(asyncio.Protocol):
    """Parses requests, runs the app for one after the other, and bounds what clients may hold.

    It stands in for uvicorn's own protocol, which takes half as long again for a short request and
    arms no timer on a connection until its first response. Here a connection on which no request is
    being served has ``head_timeout`` seconds to send a whole head, from when it opened or sent its
    first byte, and the keep-alive time between two requests; the rest of a body that was answered
    early (413) is read and dropped for ``head_timeout``, so that the client gets to see the answer.
    Requests sent ahead wait until those before them are answered.

    Args:
        config, server_state, app_state: uvicorn's.

    Attributes:
        head_timeout: seconds a client has to send a request's head.
        reply: to the request being served, or served last.
        writable: whether the client keeps up with what is written.
    """

    head_timeout = 30.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.reply: Reply | None = None
        self.writable = True
        self._app = config.loaded_app
        self._express: ShortWay | None = getattr(config.app, "express", None)
        self._keep_alive = float(config.timeout_keep_alive)
        self._state = server_state
        self._app_state = app_state
        self._parser = httptools.HttpRequestParser(self)
        self._scope: dict[str, Any] = {}
        self._incoming: Reply | None = None
        self._between = True
        self._ahead: deque[tuple[Reply, Scope]] = deque()
        self._url = b""
        self._headers: Headers = []
        self._expects = False
        self._head_bytes = 0
        self._closing = False
        self._reading = True
        self._drained: asyncio.Future[None] | None = None
        self._deadline = self._due = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of the first head."""
        self.transport = cast("asyncio.Transport", transport)
        self._state.connections.add(self)  # type: ignore[arg-type] # it names its own protocols
        server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": tuple(server[:2]) if isinstance(server, tuple) else None,
            "client": tuple(client[:2]) if isinstance(client, tuple) else None,
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": "",
        }
        self._limit(self.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell the request being served that its client has left; forget those sent ahead."""
        self._state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._ahead.clear()
        self.resume_writing()
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.lost()
        self._incoming = None
        # The parser names the connection, which names the parser.
        del self._parser

    def data_received(self, data: bytes) -> None:
        """Parse, and bound what is not a whole head yet."""
        fresh = self._between and not self._head_bytes and not self._busy
        if fresh and self._express is not None and self._go_express(self._express, data):
            return
        incoming, headers = self._incoming, self._headers
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken here: the request was served, and is the last.
            self._closing = True
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                logger.warning("a request could not be taken: %s", error.__context__ or error)
            self._refuse()
            return
        if incoming is None and self._incoming is None:
            if not self._busy or self._headers is headers:
                # Nothing else was in it: with another head, there would be another list.
                self._bound_head(len(data))
            elif fresh and self._express is not None and self.reply and not self._ahead:
                self._offer(self.reply, data)

    def _go_express(self, express: ShortWay, data: bytes) -> bool:
        """Serve a whole request with a known head without parsing it, if it can be."""
        found = express.plans.find(data)
        if found is None or self._closing:
            return False
        plan, start = found
        reply = Reply(self, "POST", "1.1", expects=False)
        reply.keep_alive = True
        reply.take_whole()
        before, self.reply = self.reply, reply
        self._deadline = _NEVER
        if express.serve(reply, plan, data[start:]):
            return True
        self.reply = before
        return False

    def _offer(self, reply: Reply, data: bytes) -> None:
        """Show the app the bytes of a request whose head it may know again.

        It came whole, in one piece and by itself, and leaves the connection as it was.
        """
        names = [name for name, _ in self._headers]
        if (
            reply.keep_alive
            and not (self._expects or reply.more_body)
            and names.count(b"content-length") == 1
            and b"transfer-encoding" not in names
            and b"upgrade" not in names
        ):
            reply.message = data

    def eof_received(self) -> None:
        """Close; nobody who has stopped sending waits for an answer here."""

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not (self._busy or self.transport.is_closing()):
            self._next()

    # uvicorn

    def shutdown(self) -> None:
        """The server stops: serve no request after the one being served."""
        self._closing = True
        if not self._busy:
            self.transport.close()
        elif self.reply is not None:
            self.reply.keep_alive = False

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        self._url = b""
        self._headers = []
        self._expects = False

    def on_url(self, url: bytes) -> None:
        """Take in a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: serve the request, or let it wait for its turn."""
        self._head_bytes = 0
        self._deadline = _NEVER
        parser = self._parser
        version = parser.get_http_version()
        path, raw_path, query = _split_target(self._url)
        scope = {
            **self._scope,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        reply = Reply(self, scope["method"], version, expects=self._expects)
        reply.keep_alive = version == "1.1" and parser.should_keep_alive() and not self._closing
        scope["extensions"] = {CLIENT_EXTENSION: reply}
        self._incoming = reply
        if self._busy:
            self._ahead.append((reply, scope))
            if len(self._ahead) >= _MOST_AHEAD:
                self.pause_reading()
        else:
            self._serve(reply, scope)

    def on_body(self, body: bytes) -> None:
        """Take in a piece of the body."""
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._between = True
        reply, self._incoming = self._incoming, None
        if reply is not None:
            reply.feed_end()
            if reply.complete:
                self._limit(self._keep_alive)

    # Replies

    @property
    def _busy(self) -> bool:
        return self.reply is not None and not self.reply.complete

    def _serve(self, reply: Reply, scope: Scope) -> None:
        self.reply = reply
        self.spawn(reply, self._app(scope, reply.receive, reply.send))

    def spawn(self, reply: Reply, work: Coroutine[Any, Any, None]) -> None:
        """Let a task do the rest of a request's work."""
        self._state.tasks.add(self.loop.create_task(self._run(reply, work)))

    async def _run(self, reply: Reply, work: Coroutine[Any, Any, None]) -> None:
        try:
            await reply.run(work)
        finally:
            task = asyncio.current_task(self.loop)
            assert task is not None
            self._state.tasks.discard(task)

    def replied(self, reply: Reply) -> None:
        """A response is complete: serve what was sent ahead, or wait for more."""
        self._state.total_requests += 1
        if not reply.keep_alive or self._closing:
            self._ahead.clear()
            self.transport.close()
            return
        self._limit(self.head_timeout if reply.more_body else self._keep_alive)
        if self.writable:
            self._next()
        else:
            # A client that asks on and on and reads no answer would have them pile up here.
            self.pause_reading()

    def _next(self) -> None:
        """Serve the next of those sent ahead, and take what else is sent."""
        if self._ahead:
            self._deadline = _NEVER
            self._serve(*self._ahead.popleft())
        if not (self._reading or self._ahead):
            self.resume_reading()

    def pause_reading(self) -> None:
        """Take no more of the client's bytes for now."""
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take the client's bytes again."""
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    async def drain(self) -> None:
        """Wait until the client has caught up, or left."""
        while not (self.writable or self.transport.is_closing()):
            self._drained = self.loop.create_future()
            await self._drained

    # Limits

    def _refuse(self) -> None:
        """Answer what is not HTTP, unless an answer is on its way already."""
        if not self._busy and not self.transport.is_closing():
            self.transport.write(_BAD_REQUEST)
        self.transport.close()

    def _bound_head(self, size: int) -> None:
        """Note that so many bytes came that make no whole head."""
        if self._head_bytes == 0 and not self._busy:
            self._limit(min(self.head_timeout, self._deadline - self.loop.time()))
        self._head_bytes += size
        if self._head_bytes > _HEAD_LIMIT:
            self.transport.abort()

    def _limit(self, seconds: float) -> None:
        """Close the connection in so many seconds, unless a request is being served by then.

        One timer a connection looks at the time now and then; arming one a request costs more
        than the request's parsing.
        """
        self._deadline = deadline = self.loop.time() + seconds
        if self._timer is None:
            self._arm(deadline)
        elif self._due > deadline:
            self._timer.cancel()
            self._arm(deadline)

    def _arm(self, due: float) -> None:
        self._due = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._deadline <= now:
            self._timer = None
            self.transport.abort()
        else:
            self._arm(min(self._deadline, now + self.head_timeout))


@functools.lru_cache(maxsize=256)
def _split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return a request target's path, its path as sent, and its query.

    Raises httptools.HttpParserInvalidURLError.
    """
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b""
    path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    return path, raw_path, parsed.query or b""
