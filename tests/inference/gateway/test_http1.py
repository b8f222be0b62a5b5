"""The server's side of a connection: framing, requests sent ahead, bodies, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from sage.inference.gateway import build_server
from sage.inference.gateway.asgi import CLIENT_EXTENSION

pytestmark = pytest.mark.anyio

App = Callable[[Any, Any, Any], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(server: uvicorn.Server) -> AsyncIterator[int]:
    """Serve on a free port while the block lasts."""
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def exchange(port: int, data: bytes) -> bytes:
    """Send the bytes, and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


def answering(headers: list[tuple[bytes, bytes]], *pieces: bytes, status: int = 200) -> App:
    """Return an app that answers every request so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await lifespan(receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def lifespan(receive: Any, send: Any) -> None:
    """Agree to the server's start and stop."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def over(handler: App) -> App:
    """Return an app that serves requests by the handler."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await handler(scope, receive, send)
        else:
            await lifespan(receive, send)

    return app


GET = b"GET /x%20y/z?a=1 HTTP/1.1\r\nhost: x\r\n"
LAST = GET + b"connection: close\r\n\r\n"


async def test_length_unknown_is_sent_in_chunks_and_to_old_clients_until_the_end() -> None:
    """HTTP/1.1 clients get chunks, HTTP/1.0 clients a body that ends with the connection."""
    async with running(build_server(answering([], b"ab", b"cde"), port=0)) as port:
        new = await exchange(port, LAST)
        old = await exchange(port, b"GET / HTTP/1.0\r\n\r\n")
    assert new.endswith(b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in new
    assert old.endswith(b"\r\n\r\nabcde")
    assert b"transfer-encoding" not in old


async def test_head_and_no_content_have_no_body() -> None:
    """HEAD gets the length that GET would, 204 nothing at all, and the connection goes on."""
    length = [(b"content-length", b"5")]
    async with running(build_server(answering(length, b"abcde"), port=0)) as port:
        got = await exchange(port, b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + LAST)
    assert got.count(b"content-length: 5") == 2
    assert got.count(b"abcde") == 1
    async with running(build_server(answering([], status=204), port=0)) as port:
        got = await exchange(port, GET + b"\r\n" + LAST)
    assert got.count(b"HTTP/1.1 204 No Content\r\n") == 2
    assert b"chunked" not in got


async def test_scope_says_what_was_asked() -> None:
    """Path unquoted and as sent, query, method, version, headers in lower case, addresses."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with running(build_server(over(app), port=0)) as port:
        await exchange(port, GET + b"X-Thing: A b\r\nconnection: close\r\n\r\n")
    scope = seen[0]
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("GET", "/x y/z", b"/x%20y/z")
    assert (scope["query_string"], scope["http_version"], scope["scheme"]) == (
        b"a=1",
        "1.1",
        "http",
    )
    assert (b"x-thing", b"A b") in scope["headers"]
    assert scope["server"] == ("127.0.0.1", port)
    assert scope["client"][0] == "127.0.0.1"


async def test_many_requests_sent_ahead_are_answered_one_after_the_other() -> None:
    """Fifty requests in one write get fifty answers in order, and never run two at once."""
    at_once = most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        at_once -= 1
        await send({"type": "http.response.body", "body": scope["query_string"]})

    asked = b"".join(b"GET /?n=%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(50))
    async with running(build_server(over(app), port=0)) as port:
        got = await exchange(port, asked + LAST)
    assert [got.index(b"\r\nn=%d\r\n" % n) for n in range(50)] == sorted(
        got.index(b"\r\nn=%d\r\n" % n) for n in range(50)
    )
    assert most == 1


async def test_client_that_waits_for_leave_to_send_gets_it() -> None:
    """``Expect: 100-continue`` is answered once the app asks for the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with running(build_server(over(app), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        writer.write(head + b"expect: 100-continue\r\nconnection: close\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.read()).endswith(b"2\r\nok\r\n0\r\n\r\n")
        writer.close()


async def test_large_body_comes_whole_and_in_order() -> None:
    """Three megabytes, taken piece by piece, arrive as they were sent."""
    sent = bytes(range(256)) * 12_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message["body"])
            more = message["more_body"]
        same = b"same" if b"".join(parts) == sent else b"other"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": same})

    async with running(build_server(over(app), port=0)) as port:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(sent)
        got = await exchange(port, head + b"connection: close\r\n\r\n" + sent)
    assert got.endswith(b"4\r\nsame\r\n0\r\n\r\n")


async def test_a_slow_reader_holds_the_app_back() -> None:
    """An app that writes without end is stopped by a client that does not read."""
    written = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal written
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            written += 10_000
        await send({"type": "http.response.body", "body": b""})

    async with running(build_server(over(app), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.05)
        assert written < 50_000_000
        writer.transport.abort()


async def test_a_head_without_end_is_cut_off_behind_a_request_too() -> None:
    """What comes while a request is served is bounded like what comes before one."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()

    async with running(build_server(over(app), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n" + GET + b"x: y\r\n" * 50_000)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        go_on.set()


async def test_app_learns_that_its_client_has_left() -> None:
    """``receive`` gives http.disconnect, and writing on does no harm."""
    left = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            continue
        left.set()
        await send({"type": "http.response.body", "body": b"b"})

    async with running(build_server(over(app), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"a\r\n")
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), 5)


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([(b"x-bad", b"a\r\nx-more: b")], (b"",)),
        ([(b"content-length", b"3")], (b"abcd",)),
        ([(b"content-length", b"3")], (b"ab",)),
    ],
    ids=["line break in a header", "body too long", "body too short"],
)
async def test_broken_responses_never_look_whole(
    headers: list[tuple[bytes, bytes]], pieces: tuple[bytes, ...], caplog: Any
) -> None:
    """An app that breaks HTTP gives the client a 500 or a closed connection, and a log line."""
    async with running(build_server(answering(headers, *pieces), port=0)) as port:
        try:
            got = await exchange(port, GET + b"\r\n")
        except ConnectionError:
            got = b""
    assert b"x-more" not in got
    assert b"500" in got or got.count(b"\r\n\r\n") == 0 or got.endswith(b"ab")
    assert "handler failed" in caplog.text


async def test_an_app_that_fails_gives_500(caplog: Any) -> None:
    """An exception, or no answer at all, is a 500 for the client."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            raise ValueError("out of order")

    async with running(build_server(over(app), port=0)) as port:
        for path in (b"/raise", b"/nothing"):
            got = await exchange(port, b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            assert got.startswith(b"HTTP/1.1 500 ")
    assert "out of order" in caplog.text
    assert "without completing" in caplog.text


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_what_is_not_http_is_refused(junk: bytes) -> None:
    """TLS or words to a plain port get a 400 and the connection is closed."""
    async with running(build_server(answering([]), port=0)) as port:
        assert (await exchange(port, junk)).startswith(b"HTTP/1.1 400 ")


async def test_upgrades_are_served_as_the_request_they_come_with() -> None:
    """No other protocol is spoken: a WebSocket's handshake is an ordinary request, and the last."""
    upgrade = GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with running(build_server(answering([], b"plain"), port=0)) as port:
        assert b"5\r\nplain\r\n0\r\n\r\n" in await exchange(port, upgrade)


async def test_idle_connections_are_closed_after_the_keep_alive_time() -> None:
    """A connection that has been served and stays silent is closed."""
    app = answering([(b"content-length", b"1")], b"a")
    server = build_server(app, port=0, keep_alive_timeout=1, head_timeout=0.3)
    async with running(server) as port:
        got = await exchange(port, GET + b"\r\n")
    assert got.endswith(b"\r\n\r\na")


async def test_stopping_lets_the_request_being_served_end() -> None:
    """A server that stops closes idle connections at once, and the busy one after its answer."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    server = build_server(over(app), port=0, shutdown_timeout=5)
    async with running(server) as port:
        busy = asyncio.create_task(exchange(port, GET + b"\r\n"))
        idle = asyncio.create_task(exchange(port, b""))
        await begun.wait()
        server.should_exit = True
        assert await idle == b""
        go_on.set()
        assert b"done" in await busy
    assert not server.server_state.connections


async def test_a_client_that_asks_on_and_reads_nothing_is_not_served_on() -> None:
    """Its answers do not pile up: serving stops until it reads, and then goes on to the end."""
    served = 0
    body = b"x" * 100_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal served
        served += 1
        length = [(b"content-length", b"%d" % len(body))]
        link = scope["extensions"][CLIENT_EXTENSION]
        link.begin(200, length)
        link.finish(body)

    async with running(build_server(over(app), port=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        try:
            for _ in range(500):
                writer.write(GET + b"\r\n")
            before = -1
            while before != served:
                before = served
                await asyncio.sleep(0.05)
            assert served < 400
            size = 0
            while served < 500 or size < 500 * len(body):
                size += len(await asyncio.wait_for(reader.read(1 << 20), 5))
        finally:
            writer.transport.abort()
    assert served == 500
