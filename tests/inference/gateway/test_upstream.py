"""The pooled upstream client: framing, reuse, the retry rule, addresses, TLS, Unix sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sage.inference.gateway.errors import ConnectFailedError, ConnectionBrokenError
from sage.inference.gateway.target import Target, parse_target
from sage.inference.gateway.upstream import Upstream

HEAD = b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: Any) -> tuple[str, dict[str, bool]]:
    """Both event loops."""
    return "asyncio", {"use_uvloop": request.param}


pytestmark = pytest.mark.anyio


async def whole(upstream: Upstream, **options: Any) -> tuple[int, bytes]:
    response = await upstream.request(HEAD, **options)
    parts = []
    while part := await response.read():
        parts.append(part)
    return response.status, b"".join(parts)


def writes(data: bytes, close: bool = False) -> Any:
    async def handler(request: Any, writer: Any) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return handler


@pytest.mark.parametrize(
    ("data", "close", "body", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", False, b"hi", 1),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", False, b"", 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, b"", 1),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi", False, b"hi", 0),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", False, b"hi", 0),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, b"until the end", 0),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2;ext=1\r\nhi\r\n0\r\nx-t: 1\r\n\r\n",
            False,
            b"hi",
            1,
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            False,
            b"hi",
            1,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            False,
            b"hi",
            0,
        ),
    ],
    ids=["length", "empty", "204", "close", "1.0", "eof", "chunked", "1xx", "one too many"],
)
async def test_every_framing(kit: Any, data: bytes, close: bool, body: bytes, kept: int) -> None:
    """Each way to frame a body is read whole, and only clean connections are kept."""
    engine = await kit.engine(writes(data, close))
    upstream = Upstream(parse_target(engine.url))
    status, got = await whole(upstream)
    assert (status, got) == (204 if b" 204 " in data else 200, body)
    await kit.eventually(lambda: (upstream.idle, upstream.open) == (kept, kept))
    upstream.close()


async def test_byte_by_byte(kit: Any) -> None:
    """However the bytes are cut up, the response is the same."""

    async def drip(request: Any, writer: Any) -> None:
        data = (
            b"HTTP/1.1 200 OK\r\nX-A: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    engine = await kit.engine(drip)
    upstream = Upstream(parse_target(engine.url))
    assert await whole(upstream) == (200, b"abc")
    upstream.close()


async def test_head_request_has_no_body(kit: Any) -> None:
    """The length in an answer to HEAD announces no bytes."""
    engine = await kit.engine(writes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"))
    upstream = Upstream(parse_target(engine.url))
    assert await whole(upstream, bodyless=True) == (200, b"")
    upstream.close()


async def test_last_used_connection_is_reused_first(kit: Any) -> None:
    """Ten requests in turn need one connection."""
    engine = await kit.engine()
    upstream = Upstream(parse_target(engine.url))
    for _ in range(10):
        assert (await whole(upstream))[0] == 200
    assert engine.connections == 1
    upstream.close()


async def test_idle_connection_closed_by_the_engine_is_dropped(kit: Any) -> None:
    """An idle connection that the engine closes leaves the pool at once."""
    writers = []

    async def remember(request: Any, writer: Any) -> None:
        writers.append(writer)
        await kit.answer(request, writer)

    engine = await kit.engine(remember)
    upstream = Upstream(parse_target(engine.url))
    await whole(upstream)
    assert upstream.idle == 1
    writers[0].close()
    await kit.eventually(lambda: upstream.open == 0)
    assert (await whole(upstream))[0] == 200
    upstream.close()


async def test_expired_connections_are_not_used(kit: Any) -> None:
    """A connection idle for longer than ``keepalive`` is closed, not reused."""
    now = 0.0
    engine = await kit.engine()
    upstream = Upstream(parse_target(engine.url), keepalive=4.0, clock=lambda: now)
    await whole(upstream)
    now = 3.0
    await whole(upstream)
    assert engine.connections == 1
    now = 7.5
    await whole(upstream)
    assert engine.connections == 2
    now = 12.0
    upstream.expire()
    await kit.eventually(lambda: upstream.open == 0)


async def test_reused_connection_that_dies_unanswered_is_retried_once(kit: Any) -> None:
    """The engine closed an idle connection as the request came: a fresh one gets it."""
    served = 0

    async def second_request_dies(request: Any, writer: Any) -> None:
        nonlocal served
        served += 1
        if served == 2:
            writer.close()
            return
        await kit.answer(request, writer)

    engine = await kit.engine(second_request_dies)
    upstream = Upstream(parse_target(engine.url))
    await whole(upstream)
    assert (await whole(upstream))[0] == 200
    assert (served, engine.connections) == (3, 2)
    upstream.close()


@pytest.mark.parametrize("case", ["fresh", "byte", "late"])
async def test_requests_that_may_have_been_processed_are_not_retried(kit: Any, case: str) -> None:
    """A fresh connection, one byte of an answer, or more than a second: no second try."""
    now = 0.0
    served = 0

    async def handler(request: Any, writer: Any) -> None:
        nonlocal now, served
        served += 1
        if case != "fresh" and served == 1:
            await kit.answer(request, writer)
            return
        if case == "byte":
            writer.write(b"H")
            await writer.drain()
        if case == "late":
            now += 1.5
        writer.close()

    engine = await kit.engine(handler)
    upstream = Upstream(parse_target(engine.url), clock=lambda: now)
    if case != "fresh":
        await whole(upstream)
    before = served
    with pytest.raises(ConnectionBrokenError):
        await whole(upstream)
    assert served == before + 1
    upstream.close()


async def test_abort_closes_the_connection(kit: Any) -> None:
    """Aborting a response that is not complete ends the engine's work."""

    async def stream(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD)
        await asyncio.Event().wait()

    engine = await kit.engine(stream)
    upstream = Upstream(parse_target(engine.url))
    response = await upstream.request(HEAD)
    response.abort()
    await asyncio.wait_for(engine.aborted.wait(), 20)
    await kit.eventually(lambda: upstream.open == 0)


async def test_cancelled_request_closes_the_connection(kit: Any) -> None:
    """Cancelling the task that waits for the head ends the engine's work."""
    engine = await kit.engine(kit.hang)
    upstream = Upstream(parse_target(engine.url))
    task = asyncio.ensure_future(upstream.request(HEAD))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    task.cancel()
    await asyncio.wait_for(engine.aborted.wait(), 20)


async def test_name_with_several_addresses_is_tried_through(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to a dead address first still connects."""
    engine = await kit.engine()
    port = parse_target(engine.url).port
    loop = asyncio.get_running_loop()

    async def ipv6_first(*args: Any, **options: Any) -> list[Any]:
        kind = (socket.SOCK_STREAM, 6, "")
        return [
            (socket.AF_INET6, *kind, ("::1", port, 0, 0)),
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
        ]

    upstream = Upstream(parse_target(f"http://localhost:{port}"))
    if "uvloop" not in type(loop).__module__:
        monkeypatch.setattr(loop, "getaddrinfo", ipv6_first)
    assert (await whole(upstream))[0] == 200
    upstream.close()


async def test_refused_and_unknown_hosts_say_where(kit: Any) -> None:
    """A connection that cannot be made names the address and the cause."""
    engine = await kit.engine()
    await engine.stop()
    port = parse_target(engine.url).port
    with pytest.raises(ConnectFailedError, match=f"127.0.0.1 port {port}: .*refused"):
        await Upstream(parse_target(engine.url)).request(HEAD)
    with pytest.raises(ConnectFailedError, match=r"nowhere\.invalid"):
        await Upstream(parse_target("http://nowhere.invalid:1")).request(HEAD)


async def test_connect_timeout() -> None:
    """An address that does not answer costs no more than the connect timeout."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        upstream = Upstream(Target("u", "127.0.0.1", address[1]), connect_timeout=0.1)
        with pytest.raises(ConnectFailedError, match=r"no connection in 0\.\d+ s"):
            await upstream.request(HEAD)
        for filler in fillers:
            filler.close()


async def test_unix_socket(kit: Any, tmp_path: Path) -> None:
    """http+unix:// reaches an engine without a port."""
    engine = await kit.engine(path=str(tmp_path / "e.sock"))
    upstream = Upstream(parse_target(engine.url))
    assert (await whole(upstream))[1] == kit.ANSWER
    upstream.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "c.pem", folder / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_tls(kit: Any, certificate: tuple[Path, Path]) -> None:
    """https verifies the certificate: with its authority it works, without it says why not."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def serve(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(kit.response(b"{}"))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    target = parse_target(f"https://localhost:{server.sockets[0].getsockname()[1]}")
    trusting = Upstream(target, tls=ssl.create_default_context(cafile=cert))
    assert await whole(trusting) == (200, b"{}")
    trusting.close()
    with pytest.raises(ConnectFailedError, match="certificate"):
        await Upstream(target).request(HEAD)
    server.close()
    await server.wait_closed()
