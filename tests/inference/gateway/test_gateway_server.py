"""The server's own limits: slow, endless and malformed request heads."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sage.inference.gateway import build_server

pytestmark = pytest.mark.anyio


async def until_closed(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send the parts and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                if writer.is_closing():
                    break
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 3)
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET /health HTTP/1.1\r\n",),
        (b"\r\n",) * 10,
        tuple(b"x-%d: y\r\n" % n if n else b"GET / HTTP/1.1\r\n" for n in range(10)),
    ],
    ids=["silent", "half", "blank lines", "dripping"],
)
async def test_slow_heads_are_cut_off(kit: Any, parts: tuple[bytes, ...]) -> None:
    """A client that does not send a whole head in time loses its connection."""
    served = await kit.gateway(server={"head_timeout": 0.2})
    assert await until_closed(served.port, *parts, pause=0.05) == b""


async def test_slow_second_head_is_cut_off_too(kit: Any) -> None:
    """The limit holds for every request of a connection, not only the first."""
    served = await kit.gateway(server={"head_timeout": 0.2})
    request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    got = await until_closed(served.port, request, b"GET ", pause=0.05)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.count(b"HTTP/1.1") == 1


async def test_endless_head_is_cut_off(kit: Any) -> None:
    """A head above 64 KiB ends the connection."""
    served = await kit.gateway()
    lines = [b"x-pad: " + b"y" * 1000 + b"\r\n"] * 100
    assert await until_closed(served.port, b"GET / HTTP/1.1\r\n", *lines) == b""


async def test_served_requests_are_not_under_the_heads_limit(kit: Any) -> None:
    """A request that takes longer than the head's limit is served all the same."""

    async def slow(request: Any, writer: Any) -> None:
        await asyncio.sleep(0.4)
        await kit.answer(request, writer)

    served = await kit.gateway(server={"head_timeout": 0.1})
    served.add(await kit.engine(slow))
    body = b'{"model":"m"}'
    line = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    length = b"content-length: %d\r\n\r\n" % len(body)
    got = await until_closed(served.port, line + length + body)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(kit.ANSWER)


async def test_early_answer_is_seen_by_a_client_still_sending(kit: Any) -> None:
    """413 reaches a client that goes on sending its body, and the connection stays usable."""
    served = await kit.gateway(max_body_bytes=1000)
    body = b"x" * 4_000_000
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    last = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    got = await until_closed(served.port, head, body, last)
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"HTTP/1.1 200 " in got


async def test_pipelined_requests_are_answered_in_order(kit: Any) -> None:
    """Two requests in one write get two answers, in order."""
    served = await kit.gateway()
    served.add(await kit.engine())
    body = b'{"model":"m"}'
    first = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    last = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    got = await until_closed(served.port, first + body + last)
    assert got.count(b"HTTP/1.1 200 ") == 2
    assert got.index(kit.ANSWER) < got.index(b'"object":"list"')


def test_server_is_lean_and_local_by_default() -> None:
    """Loopback, no access log, no server or date header, no WebSocket, no proxy headers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    config = build_server(app).config
    assert config.host == "127.0.0.1"
    assert [config.access_log, config.server_header, config.date_header] == [False] * 3
    assert config.ws == "none"
    assert not config.proxy_headers
