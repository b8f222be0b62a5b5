"""Streams, breaks, retries, timeouts and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.anyio

CHAT = b'{"model":"m","messages":[]}'
STREAM = b'{"model":"m","messages":[],"stream":true}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'


def raw_request(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def send_raw(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def post(url: str, body: bytes = CHAT) -> Any:
    async with httpx2.AsyncClient(timeout=10) as client:
        return await client.post(url + "/v1/chat/completions", content=body)


async def test_events_are_forwarded_one_by_one(kit: Any) -> None:
    """Each event reaches the client before the engine has made the next."""
    go = asyncio.Queue[None]()

    async def stream(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD)
        for _ in range(3):
            await go.get()
            writer.write(kit.chunk(EVENT))
        await go.get()
        writer.write(kit.chunk(b"data: [DONE]\n\n") + kit.chunk(b""))

    engine = await kit.engine(stream)
    served = await kit.gateway()
    served.add(engine)
    async with (
        httpx2.AsyncClient(timeout=30) as client,
        client.stream("POST", served.url + "/v1/chat/completions", content=STREAM) as reply,
    ):
        assert reply.headers["content-type"] == "text/event-stream"
        assert reply.headers["cache-control"] == "no-cache"
        got = reply.aiter_raw()
        for expected in [EVENT] * 3 + [b"data: [DONE]\n\n"]:
            go.put_nowait(None)
            assert await anext(got) == expected
        assert [part async for part in got] == []
    assert served.requests["done"] == 1


async def test_break_in_a_stream_ends_with_one_error_event(kit: Any) -> None:
    """The stream ends properly, with an error event as its last and no [DONE]."""

    async def stream(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD + kit.chunk(EVENT) + kit.chunk(EVENT[:20]))
        await writer.drain()
        writer.close()

    engine = await kit.engine(stream)
    served = await kit.gateway()
    served.add(engine)
    reply = await post(served.url, STREAM)
    assert reply.status_code == 200
    assert b"[DONE]" not in reply.content
    last = reply.content.split(b"\n\n")[-2]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert error["code"] == "upstream_error"
    assert "a" in error["message"]
    assert served.instance("a")["failed"] == 1


async def test_break_in_a_body_cuts_the_connection(kit: Any, caplog: Any) -> None:
    """A non-streamed answer that breaks off is seen by the client as broken off."""

    async def half(request: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    engine = await kit.engine(half)
    served = await kit.gateway()
    served.add(engine)
    with pytest.raises(httpx2.RemoteProtocolError):
        await post(served.url)
    await kit.eventually(lambda: served.requests["failed"] == 1)
    assert "Exception" not in caplog.text
    assert "without completing" not in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["protocol", "status", "length", "range", "upgrade", "huge", "nothing"],
)
async def test_malformed_answers_are_502(kit: Any, data: bytes) -> None:
    """Bytes that are no HTTP response, or none at all, give 502 and not a hang."""

    async def handler(request: Any, writer: Any) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    engine = await kit.engine(handler)
    served = await kit.gateway()
    served.add(engine)
    reply = await post(served.url)
    assert reply.status_code == 502
    assert reply.json()["error"]["type"] == "server_error"
    assert len(engine.requests) == 1


async def test_unreachable_instance_is_passed_over(kit: Any) -> None:
    """A refused connection sends the request to another instance, and only once to each."""
    engine = await kit.engine()
    dead = await kit.engine()
    await dead.stop()
    served = await kit.gateway()
    served.add(dead, "dead")
    served.add(engine, "live")
    for _ in range(4):
        reply = await post(served.url)
        assert (reply.status_code, reply.headers["x-sage-instance"]) == (200, "live")
    assert served.requests["done"] == 4
    assert served.requests["retried"] == served.instance("dead")["failed"] >= 1


async def test_all_instances_unreachable_is_502(kit: Any) -> None:
    """When none can be reached the answer names each and why."""
    served = await kit.gateway()
    for name in ("x", "y"):
        dead = await kit.engine()
        await dead.stop()
        served.add(dead, name)
    reply = await post(served.url)
    assert reply.status_code == 502
    message = reply.json()["error"]["message"]
    assert "x: 127.0.0.1" in message
    assert "y: 127.0.0.1" in message
    assert served.requests["failed"] == 1


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "streamed"])
async def test_client_that_leaves_ends_the_engines_work(kit: Any, body: bytes) -> None:
    """Within a second of a client's leaving its upstream connection is closed, its slot free."""

    async def work(request: Any, writer: Any) -> None:
        if body is STREAM:
            writer.write(kit.STREAM_HEAD + kit.chunk(EVENT))
            await writer.drain()
        await asyncio.Event().wait()

    engine = await kit.engine(work)
    served = await kit.gateway()
    served.add(engine)
    _, writer = await send_raw(served.port, raw_request(body))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    await close(writer)
    await asyncio.wait_for(engine.aborted.wait(), 20)
    await kit.eventually(lambda: served.instance("a")["cancelled"] == 1)
    assert served.requests["cancelled"] == 1
    assert served.instance("a")["in_flight"] == 0


async def test_client_that_leaves_the_queue_is_forgotten(kit: Any) -> None:
    """A queued request whose client leaves never reaches an engine."""
    engine = await kit.engine(kit.hang)
    served = await kit.gateway(max_queued=1)
    served.add(engine, max_requests=1)
    _, first = await send_raw(served.port, raw_request(CHAT))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    _, second = await send_raw(served.port, raw_request(CHAT))
    await kit.eventually(lambda: served.requests["queued"] == 1)
    refused = await post(served.url)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "queue_full"
    await close(second)
    await kit.eventually(lambda: served.requests["queued"] == 0)
    await close(first)
    await kit.eventually(lambda: served.requests["cancelled"] == 2)
    assert len(engine.requests) == 1


async def test_client_that_leaves_while_sending_is_counted(kit: Any) -> None:
    """A body that never ends because its client left is a cancelled request."""
    served = await kit.gateway()
    _, writer = await send_raw(served.port, raw_request(CHAT)[:-5])
    await kit.eventually(lambda: served.requests["open"] == 1)
    await close(writer)
    await kit.eventually(lambda: served.requests["cancelled"] == 1)


async def test_slow_body_is_408(kit: Any) -> None:
    """A client has ``body_timeout`` seconds to send its body."""
    served = await kit.gateway(body_timeout=0.1)
    reader, writer = await send_raw(served.port, raw_request(CHAT)[:-5])
    reply = await asyncio.wait_for(reader.read(), 2)
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert served.requests["rejected"] == 1
    await close(writer)


async def test_timeouts_are_504(kit: Any) -> None:
    """An engine that does not answer in time gives 504 and loses its connection."""
    engine = await kit.engine(kit.hang)
    served = await kit.gateway(request_timeout=0.5)
    served.add(engine, max_requests=1)
    first = asyncio.ensure_future(post(served.url))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    queued = await post(served.url)
    for reply in (await first, queued):
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
    await asyncio.wait_for(engine.aborted.wait(), 20)
    assert served.requests["failed"] == 2


async def test_silent_stream_ends_with_an_error_event(kit: Any) -> None:
    """An engine that falls silent in a stream for ``idle_timeout`` ends it with an error event."""

    async def silent(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD + kit.chunk(EVENT))
        await asyncio.Event().wait()

    engine = await kit.engine(silent)
    served = await kit.gateway(idle_timeout=0.3)
    served.add(engine)
    reply = await post(served.url, STREAM)
    assert reply.content.startswith(EVENT)
    assert b'"code":"timeout"' in reply.content
    await asyncio.wait_for(engine.aborted.wait(), 20)


async def test_slow_client_slows_the_engine(kit: Any) -> None:
    """A client that does not read stops the engine's sending; nothing piles up in between."""
    sent = 0
    total = 64 * 1024 * 1024

    async def flood(request: Any, writer: Any) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    engine = await kit.engine(flood)
    served = await kit.gateway()
    served.add(engine)
    reader, writer = await send_raw(served.port, raw_request(CHAT))
    await reader.readuntil(b"\r\n\r\n")
    seen = -1
    while seen != sent:  # the absence of progress can only be seen over time
        seen = sent
        await asyncio.sleep(0.2)
    assert sent < total / 2
    got = 0
    while got < total:
        got += len(await reader.read(1 << 20))
    assert (got, sent) == (total, total)
    await close(writer)
    await kit.eventually(lambda: served.requests["done"] == 1)


async def test_stalled_client_does_not_hold_a_slot_for_ever(kit: Any) -> None:
    """A client that never reads loses its connection at the request's time limit."""

    async def flood(request: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1 << 30))
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    engine = await kit.engine(flood)
    served = await kit.gateway(request_timeout=0.5)
    served.add(engine)
    client = socket.create_connection(("127.0.0.1", served.port))
    client.sendall(raw_request(CHAT))
    await kit.eventually(lambda: served.requests["failed"] == 1)
    await kit.eventually(lambda: served.requests["open"] == 0)
    client.close()


async def test_removing_an_instance_drains_then_breaks_off(kit: Any) -> None:
    """Removal lets running requests end within its time limit, then breaks them off with 502."""
    engine = await kit.engine(kit.hang)
    served = await kit.gateway()
    served.add(engine)
    reply = asyncio.ensure_future(post(served.url))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    await served.gateway.remove_instance("a", drain_timeout=0.05)
    assert (await reply).status_code == 502
    assert (await reply).json()["error"]["code"] == "instance_removed"
    assert served.gateway.snapshot()["instances"] == []
    assert (await post(served.url)).status_code == 404


async def test_dead_instance_fails_its_requests_and_spares_the_others(kit: Any) -> None:
    """set_down leaves running work be unless asked to break it off; the queue gets 503."""
    engine = await kit.engine(kit.hang)
    served = await kit.gateway()
    served.add(engine, max_requests=1)
    running = asyncio.ensure_future(post(served.url))
    await asyncio.wait_for(engine.arrived.wait(), 20)
    queued = asyncio.ensure_future(post(served.url))
    await kit.eventually(lambda: served.requests["queued"] == 1)
    served.gateway.set_down("a", "probe failed")
    assert (await queued).status_code == 503
    assert not running.done()
    served.gateway.set_down("a", "process ended", abort=True)
    assert (await running).status_code == 502
    assert (served.instance("a")["failed"], served.requests["rejected"]) == (1, 1)
