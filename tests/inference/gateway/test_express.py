"""The short way: plain requests by callbacks, and everything else as by the long way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sage.inference.gateway.asgi import CLIENT_EXTENSION
from sage.inference.gateway.breaker import BreakerRule
from sage.inference.gateway.instances import CareRules
from sage.inference.gateway.keys import ApiKey, KeyRing
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
BODY = b'{"model":"m"}'


def message(body: bytes = BODY, *headers: str, length: str = "content-length") -> bytes:
    """A whole request."""
    lines = [f"POST {PATH} HTTP/1.1", "host: x", *headers, f"{length}: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Line:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer: status, headers, body."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head[:-4].split("\r\n")
            headers = dict(item.split(": ", 1) for item in rest)
            if headers.get("transfer-encoding") != "chunked":
                body = await self.reader.readexactly(int(headers["content-length"]))
                return int(line.split()[1]), headers, body
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
            return int(line.split()[1]), headers, body

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes in one piece and read one answer."""
        self.writer.write(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """Read until the gateway closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    def leave(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def line(served: Any) -> AsyncIterator[Line]:
    """Connect to the gateway while the block lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def warm(client: Line, *headers: str) -> None:
    """Have the gateway learn the heads of request and answer."""
    for _ in range(2):
        assert (await client.ask(message(BODY, *headers)))[0] == 200


def express(served: Any) -> Any:
    """The gateway's short way."""
    return served.gateway.app.express


def waiting(served: Any) -> Any:
    """The only request that is open."""
    (exchange,) = served.gateway._desk._open.values()
    return exchange


async def settled(kit: Any, served: Any, names: str = "a") -> None:
    """Check that nothing is left open, running or connected, and that all sums agree."""
    await kit.eventually(lambda: served.requests["open"] == 0)
    served.check_sums()
    assert (served.requests["queued"], served.requests["in_flight"]) == (0, 0)
    for name in names:
        upstream = served.gateway._desk.backends[name].upstream
        await kit.eventually(lambda upstream=upstream: upstream.open == upstream.idle)


class Script:
    """An engine that does what the test says next, and else answers."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.next: Any = kit.answer

    async def __call__(self, request: Any, writer: Any) -> None:
        await self.next(request, writer)


def writes(*pieces: bytes, close: bool = False) -> Any:
    """A handler that writes pieces, each in a packet of its own."""

    async def handler(request: Any, writer: Any) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that they are read one by one
        if close:
            writer.close()

    return handler


# Plain requests


async def test_known_requests_take_the_short_way_and_look_the_same(kit: Any) -> None:
    """From the second on requests are served short, with the same answer, to the same counts."""
    served = await kit.gateway()
    engine = await kit.engine()
    served.add(engine)
    async with line(served) as client:
        answers = [await client.ask(message(BODY, "authorization: Bearer k")) for _ in range(4)]
        longer = await client.ask(message(b'{"model":"m", "n": 1}', "authorization: Bearer k"))
    assert express(served).served == 4
    for status, headers, body in [*answers, longer]:
        assert (status, body, headers["x-sage-instance"]) == (200, kit.ANSWER, "a")
        assert headers.keys() == answers[0][1].keys()
        assert float(headers["x-sage-queue-ms"]) >= 0
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4
    heads = [item.head.replace(item.headers["x-request-id"], "") for item in engine.requests]
    assert len(set(heads[:4])) == 1
    assert engine.requests[-1].body == b'{"model":"m", "n": 1}'
    assert engine.requests[-1].headers["authorization"] == "Bearer k"
    assert (served.requests["done"], engine.connections) == (5, 1)
    await settled(kit, served)


async def test_what_a_known_head_means_outlives_the_connection_it_came_by(kit: Any) -> None:
    """Another connection is served short at once, and the first is not kept in memory for it."""
    served = await kit.gateway()
    served.add(await kit.engine())
    async with line(served) as first:
        await warm(first)
    async with line(served) as second:
        assert (await second.ask(message()))[0] == 200
    assert express(served).served == 2
    plan, _ = express(served).plans.find(message())
    assert CLIENT_EXTENSION not in plan.scope.get("extensions", {})


async def test_bodies_that_are_refused_are_refused_alike(kit: Any) -> None:
    """A known head changes nothing for a body that is no JSON, names no model or an unknown one,
    or is too large."""
    served = await kit.gateway(max_body_bytes=100)
    served.add(await kit.engine())
    large = b'{"model":"m","x":"' + b"x" * 100 + b'"}'
    async with line(served) as client:
        await warm(client)
        for body, status in ((b"{", 400), (b'{"model":"n"}', 404), (b'{"model":1}', 400)):
            got = await client.ask(message(body))
            assert (got[0], "error" in json.loads(got[2])) == (status, True)
        assert (await client.ask(message(b"{}")))[0] == 200  # the only model there is
        assert (await client.ask(message(large)))[0] == 413
        assert (await client.ask(message()))[0] == 200
    assert served.requests["rejected"] == 4
    await settled(kit, served)


# Framing


@pytest.mark.parametrize(
    "extra",
    [
        ("content-length: 13",),
        ("Content-Length: 13",),
        ("transfer-encoding: chunked",),
        ("expect: 100-continue",),
        ("connection: close",),
        ("connection: upgrade", "upgrade: h2c"),
        ("x-request-id: mine",),
        ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
        ("x-content-length: 13",),
    ],
    ids=lambda extra: extra[-1].split(":")[0],
)
async def test_heads_that_say_more_are_parsed_each_time(kit: Any, extra: tuple[str, ...]) -> None:
    """Two lengths, chunks, Expect, the connection's end, upgrades and ids are never served short.

    Nor does a header before the length that only looks like it stand for it.
    """
    served = await kit.gateway()
    served.add(await kit.engine())
    for _ in range(3):
        async with line(served) as client:
            client.writer.write(message(BODY, *extra))
            assert (await client.reader.read(9)).startswith(b"HTTP/1.1 ")
    assert express(served).served == 0


async def test_a_header_that_resembles_the_length_is_not_taken_for_it(kit: Any) -> None:
    """A body is as long as its content-length says, whatever another header says: nothing in it
    becomes a request."""
    served = await kit.gateway()
    engine = await kit.engine()
    served.add(engine)
    inside = BODY + message(b'{"model":"m","n":2}')
    padded = b'{"model":"m","x":"' + b"x" * (len(inside) - 20) + b'"}'
    async with line(served) as client:
        for _ in range(2):
            data = message(padded, f"xontent-Length: {len(padded)}")
            assert (await client.ask(data))[0] == 200
        data = message(inside, f"xontent-Length: {len(BODY)}")
        client.writer.write(data[: -len(inside) + len(BODY)])
        await asyncio.sleep(0.05)  # so that what came first is read by itself
        assert (await client.ask(data[-len(inside) + len(BODY) :]))[0] == 400
    assert len(engine.requests) == 2


async def test_a_request_inside_another_ones_head_is_not_served(kit: Any) -> None:
    """Bytes that continue a head begun while the request before was served belong to that head."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine)
    async with line(served) as client:
        await warm(client)
        go_on = asyncio.Event()

        async def later(request: Any, writer: Any) -> None:
            await go_on.wait()
            await kit.answer(request, writer)

        script.next = later
        client.writer.write(message())
        await kit.eventually(lambda: len(engine.requests) == 3)
        client.writer.write(b"GET /health HTTP/1.1\r\nx: ")
        await asyncio.sleep(0.05)  # what must be parsed before the answer comes
        go_on.set()
        assert (await client.answer())[0] == 200
        assert "x-sage-instance" not in (await client.ask(message()))[1]
    assert len(engine.requests) == 3


async def test_requests_sent_behind_a_short_one_wait_for_it(kit: Any) -> None:
    """Requests sent ahead, alone or with it in one piece, are answered in order."""
    served = await kit.gateway()
    engine = await kit.engine()
    served.add(engine)
    numbered = [message(b'{"model":"m","n":%d}' % n) for n in range(6)]
    async with line(served) as client:
        await warm(client)
        for data in numbered[:3]:
            client.writer.write(data)
            await asyncio.sleep(0)
        client.writer.write(b"".join(numbered[3:]))
        for _ in numbered:
            assert (await client.answer())[0] == 200
        assert [json.loads(item.body)["n"] for item in engine.requests[2:]] == list(range(6))
        assert (await client.ask(message()))[0] == 200
    await settled(kit, served)


async def test_a_request_in_pieces_is_served(kit: Any) -> None:
    """A known head whose bytes come in several pieces is parsed."""
    served = await kit.gateway()
    served.add(await kit.engine())
    async with line(served) as client:
        await warm(client)
        before = express(served).served
        data = message()
        for at in (1, 30, len(data) - 1):
            client.writer.write(data[:at])
            await asyncio.sleep(0.02)  # so that they are read one by one
            assert (await client.ask(data[at:]))[0] == 200
    assert express(served).served == before


# Engines that do not answer plainly


@pytest.mark.parametrize("status", ["404 Not Found", "422 X", "429 Too Many Requests"])
async def test_refusals_of_the_engine_pass_through(kit: Any, status: str) -> None:
    """The engine's 4xx answers are the client's, known heads or not, and count as done."""
    script = Script(kit)
    served = await kit.gateway()
    served.add(await kit.engine(script))
    async with line(served) as client:
        await warm(client)
        script.next = writes(kit.response(b'{"error":1}', status, "retry-after: 3"))
        for _ in range(3):
            code, headers, body = await client.ask(message())
            assert (code, headers["retry-after"], body) == (
                int(status[:3]),
                "3",
                b'{"error":1}',
            )
    assert (served.requests["done"], express(served).served) == (5, 4)
    await settled(kit, served)


@pytest.mark.parametrize(
    ("pieces", "close", "status"),
    [
        ((b"garbage\r\n\r\n",), False, 502),
        ((b"HTTP/1.1 200 OK\r\ncontent-le",), True, 502),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",), True, 0),
        ((b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}",), False, 500),
        ((b"HTTP/1.1 503 Full\r\ncontent-length: 2\r\n\r\n{}",), False, 503),
    ],
    ids=["garbage", "break in the head", "break in the body", "500", "503"],
)
async def test_failures_of_the_only_engine_are_told_and_counted_once(
    kit: Any, pieces: tuple[bytes, ...], close: bool, status: int
) -> None:
    """The client gets the status or a closed connection; the request and its attempt failed."""
    script = Script(kit)
    served = await kit.gateway()
    served.add(await kit.engine(script))
    for n in range(1, 3):  # the second time also the answer's head is known
        script.next = kit.answer
        async with line(served) as client:
            await warm(client)
            before = express(served).served
            script.next = writes(*pieces, close=close)
            if status:
                assert (await client.ask(message()))[0] == status
            else:
                client.writer.write(message())
                assert (await client.rest()).endswith(b"\r\n\r\nab")
            assert express(served).served == before + 1
        await settled(kit, served)
        assert (served.requests["failed"], served.instance("a")["failed"]) == (n, n)
        breaker = served.gateway._desk.backends["a"].breaker
        assert breaker.watchful
        served.gateway.set_up("a")


async def test_another_instance_answers_for_one_that_fails(kit: Any) -> None:
    """A 503, known or not, or a connection that breaks sends the request elsewhere, once."""
    bad, good = Script(kit), await kit.engine()
    served = await kit.gateway(care=CareRules(breaker=BreakerRule(failures=100)))
    served.add(await kit.engine(bad), "a")
    async with line(served) as client:
        await warm(client)
        served.add(good, "b", max_requests=1)
        for n, failing in enumerate(
            [
                writes(kit.response(b"{}", "503 Full")),
                writes(kit.response(b"{}", "503 Full")),
                writes(b"HTTP/1.1 200 OK\r\ncontent", close=True),
            ],
            start=1,
        ):
            bad.next = failing
            while served.instance("a")["failed"] < n:
                status, headers, _ = await client.ask(message())
                assert (status, headers["x-sage-instance"]) == (200, "b")
    assert served.requests["failed"] == 0
    assert served.requests["retried"] == 3
    await settled(kit, served, "ab")


async def test_answers_that_are_not_plain_are_passed_on_as_they_come(kit: Any) -> None:
    """Streams, answers in pieces, until the end, after informational ones, and without a body."""
    script = Script(kit)
    served = await kit.gateway()
    served.add(await kit.engine(script))
    plain = kit.response(kit.ANSWER)
    stream = kit.STREAM_HEAD + kit.chunk(b"data: 1\n\n"), kit.chunk(b"data: 2\n\n") + kit.chunk(b"")
    event = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    cases: list[tuple[Any, int, bytes]] = [
        (writes(*stream), 200, b"data: 1\n\ndata: 2\n\n"),
        (writes(event + b"data: 1\n\n"), 200, b"data: 1\n\n"),
        (writes(plain[:20], plain[20:]), 200, kit.ANSWER),
        (writes(plain[:-5], plain[-5:]), 200, kit.ANSWER),
        (writes(early, plain), 200, kit.ANSWER),
        (writes(early + plain), 200, kit.ANSWER),
        (writes(b"HTTP/1.1 200 OK\r\n\r\nuntil", b" the end", close=True), 200, b"until the end"),
    ]
    async with line(served) as client:
        await warm(client)
        for handler, status, body in cases * 2:
            before = express(served).served
            script.next = handler
            got = await client.ask(message(b'{"model":"m","stream":true}'))
            assert (got[0], got[2]) == (status, body)
            assert express(served).served == before + 1
        script.next = writes(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
        for _ in range(2):
            client.writer.write(message())
            assert b"204" in await client.reader.readuntil(b"\r\n\r\n")
        script.next = kit.answer
        assert (await client.ask(message()))[2] == kit.ANSWER
    assert served.requests["failed"] == 0
    await settled(kit, served)


async def test_an_informational_head_is_not_learned_for_the_answer_behind_it(kit: Any) -> None:
    """What comes behind a 103 that names a length is parsed as the answer each time."""
    script = Script(kit)
    served = await kit.gateway()
    served.add(await kit.engine(script))
    async with line(served) as client:
        await warm(client)
        for body in (b"{}", b'{"a":1}'):
            plain = kit.response(body)
            early = b"HTTP/1.1 103 Early Hints\r\ncontent-length: %d\r\n\r\n" % len(plain)
            script.next = writes(early + plain)
            for _ in range(2):
                assert (await client.ask(message()))[2] == body


async def test_a_pooled_connection_that_went_stale_costs_nothing(kit: Any) -> None:
    """An engine that closes idle connections gets the request again on a fresh one, uncounted."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine)

    async def close_first(request: Any, writer: Any) -> None:
        script.next = kit.answer
        writer.close()

    async with line(served) as client:
        await warm(client)
        for _ in range(3):
            script.next = close_first
            assert (await client.ask(message()))[0] == 200
    assert (served.requests["done"], served.requests["retried"]) == (5, 0)
    assert (served.instance("a")["dispatched"], engine.connections) == (5, 4)
    assert express(served).served == 4
    await settled(kit, served)


async def test_an_instance_that_takes_priorities_gets_them(kit: Any) -> None:
    """The body is given its ``priority`` also when the head is known."""
    served = await kit.gateway()
    engine = await kit.engine()
    spec = InstanceSpec("a", Kind.LLM, ("m",))
    served.gateway.add_instance(spec, engine.url, priorities=True)
    async with line(served) as client:
        await warm(client, "x-request-priority: 5")
    assert [json.loads(item.body)["priority"] for item in engine.requests] == [-5, -5]


# Clients that leave


@pytest.mark.parametrize("moment", ["queued", "sent", "half-answered"])
async def test_clients_may_leave_at_any_moment(kit: Any, moment: str) -> None:
    """The request is counted as cancelled, its engine's work ends, and its slot is free."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine, max_requests=1)
    async with line(served) as other, line(served) as client:
        await warm(client)
        script.next = kit.hang
        if moment == "queued":
            other.writer.write(message())
            await kit.eventually(lambda: len(engine.requests) == 3)
        elif moment == "half-answered":

            async def half(request: Any, writer: Any) -> None:
                writer.write(kit.response(kit.ANSWER)[:-3])
                await asyncio.Event().wait()

            script.next = half
        client.writer.write(message())
        await kit.eventually(lambda: express(served).served > 1 + (moment == "queued"))
        if moment == "queued":
            await kit.eventually(lambda: served.requests["queued"] == 1)
        elif moment == "sent":
            await kit.eventually(lambda: len(engine.requests) == 3)
        else:
            await client.reader.readuntil(b"\r\n\r\n")
        client.leave()
        await kit.eventually(lambda: served.requests["cancelled"] == 1)
        if moment != "queued":
            await asyncio.wait_for(engine.aborted.wait(), 20)
        other.leave()
    await settled(kit, served)
    script.next = kit.answer
    async with line(served) as client:
        assert (await client.ask(message()))[0] == 200


@pytest.mark.parametrize("first", ["client", "answer"])
async def test_client_that_leaves_as_its_answer_comes_is_counted_once(kit: Any, first: str) -> None:
    """In one turn of the event loop: whichever came first says how the request ended."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine)
    async with line(served) as client:
        await warm(client)
        script.next = kit.hang
        client.writer.write(message())
        await kit.eventually(lambda: len(engine.requests) == 3)
        exchange = waiting(served)
        engine_side = exchange.sent.response._source
        if first == "client":
            exchange.gone()
            engine_side.data_received(kit.response(kit.ANSWER))
        else:
            engine_side.data_received(kit.response(kit.ANSWER))
            exchange.gone()
    await kit.eventually(lambda: served.requests["open"] == 0)
    outcome = "cancelled" if first == "client" else "done"
    assert served.requests[outcome] == (1 if first == "client" else 3)
    served.check_sums()


# Time and instances


async def test_engines_that_do_not_answer_in_time_are_504(kit: Any) -> None:
    """The request's time limit holds; the engine's work is ended."""
    script = Script(kit)
    served = await kit.gateway(request_timeout=1.0)
    engine = await kit.engine(script)
    served.add(engine)
    async with line(served) as client:
        await warm(client)
        script.next = kit.hang
        status, _, body = await client.ask(message())
        assert (status, json.loads(body)["error"]["code"]) == (504, "timeout")
        await asyncio.wait_for(engine.aborted.wait(), 20)
        script.next = kit.answer
        assert (await client.ask(message()))[0] == 200
    assert (served.requests["failed"], express(served).served) == (1, 3)
    await settled(kit, served)


@pytest.mark.parametrize("how", ["aborted", "removed"])
async def test_instances_may_be_taken_away_meanwhile(kit: Any, how: str) -> None:
    """Requests that wait for an instance which is taken away are told so."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine)
    async with line(served) as client:
        await warm(client)
        script.next = kit.hang
        client.writer.write(message())
        await kit.eventually(lambda: len(engine.requests) == 3)
        if how == "aborted":
            served.gateway.set_down("a", "test", abort=True)
        else:
            await served.gateway.remove_instance("a", drain_timeout=0.05)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["code"]) == (502, "instance_removed")
        assert (await client.ask(message()))[0] in (404, 503)
    assert served.requests["failed"] == 1
    await settled(kit, served, "a" if how == "aborted" else "")


async def test_an_instance_under_probation_is_freed_by_one_short_answer(kit: Any) -> None:
    """A half-open breaker takes the short answer in: the instance gets its limit back."""
    script = Script(kit)
    rule = BreakerRule(failures=1, first_pause=0.05)
    served = await kit.gateway(care=CareRules(breaker=rule, slow_start=0))
    served.add(await kit.engine(script), max_requests=4)
    async with line(served) as client:
        await warm(client)
        script.next = writes(kit.response(b"{}", "500 Oops"))
        assert (await client.ask(message()))[0] == 500
        assert served.instance("a")["breaker"] == "open"
        script.next = kit.answer
        await kit.eventually(lambda: served.instance("a")["breaker"] == "half_open")
        before = express(served).served
        while served.instance("a")["breaker"] != "closed":
            assert (await client.ask(message()))[0] == 200
        assert express(served).served > before
        assert served.instance("a")["max_requests"] == 4
    await settled(kit, served)


@pytest.mark.parametrize("limited", [False, True], ids=["in time", "too late"])
async def test_a_server_that_stops_lets_short_requests_end(kit: Any, limited: bool) -> None:
    """An answer that comes in time says that the connection closes; one that does not is
    cancelled, and counted."""
    script = Script(kit)
    served = await kit.gateway()
    engine = await kit.engine(script)
    served.add(engine)
    go_on = asyncio.Event()

    async def later(request: Any, writer: Any) -> None:
        await go_on.wait()
        await kit.answer(request, writer)

    async with line(served) as client:
        await warm(client)
        script.next = later
        client.writer.write(message())
        await kit.eventually(lambda: len(engine.requests) == 3)
        stopping = asyncio.ensure_future(served.stop())
        if not limited:
            # The server has told its connections once it takes no new one.
            await kit.eventually(lambda: waiting(served).client.keep_alive is False)
            go_on.set()
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.rest() == b""
        await stopping
    await kit.eventually(lambda: served.requests["open"] == 0)
    assert served.requests["cancelled" if limited else "done"] == (1 if limited else 3)
    assert len(engine.requests) == 3


# What may change under known heads


async def test_keys_that_are_changed_hold_at_once(kit: Any) -> None:
    """A head that was let in by a key is not once the key is gone, nor without keys forgotten."""
    served = await kit.gateway(keys=KeyRing(["key-number-1"]))
    engine = await kit.engine()
    served.add(engine)
    async with line(served) as client:
        await warm(client, "authorization: Bearer key-number-1")
        assert express(served).served == 1
        served.gateway.set_keys(KeyRing(["key-number-2"]))
        for _ in range(2):
            got = await client.ask(message(BODY, "authorization: Bearer key-number-1"))
            assert got[0] == 401
        await warm(client, "authorization: Bearer key-number-2")
        served.gateway.set_keys(KeyRing())
        await warm(client, "authorization: Bearer key-number-2")
    assert express(served).served == 3
    assert "authorization" not in engine.requests[0].headers
    assert "authorization" in engine.requests[-1].headers
    await settled(kit, served)


async def test_limits_that_are_switched_on_hold_for_known_heads(kit: Any) -> None:
    """A key that is given a rate limit is held to it from the next request on."""
    key = "key-number-1"
    served = await kit.gateway(keys=KeyRing([key]))
    served.add(await kit.engine())
    async with line(served) as client:
        await warm(client, f"authorization: Bearer {key}")
        served.gateway.set_keys(KeyRing([ApiKey(key, requests_per_second=1.0)]))
        data = message(BODY, f"authorization: Bearer {key}")
        assert [(await client.ask(data))[0] for _ in range(3)] == [200, 429, 429]
    assert express(served).served == 1
    await settled(kit, served)


async def test_short_requests_are_in_the_access_log(kit: Any, tmp_path: Any) -> None:
    """With a log, or one switched on later, each request has one line with all its facts."""
    path = tmp_path / "access.log"
    served = await kit.gateway()
    served.add(await kit.engine())
    async with line(served) as client:
        await warm(client)
        served.gateway.set_access_log(str(path))
        for _ in range(3):
            assert (await client.ask(message()))[0] == 200
        await kit.eventually(lambda: path.read_bytes().count(b"\n") == 3)
        served.gateway.set_access_log(None)
        assert (await client.ask(message()))[0] == 200
    assert express(served).served == 5
    for text in path.read_text().splitlines():
        facts = json.loads(text)
        assert (facts["status"], facts["outcome"], facts["path"]) == (200, "done", PATH)
        assert (facts["model"], facts["instance"], facts["prompt_tokens"]) == ("m", "a", 3)


async def test_an_error_in_the_short_way_is_a_500_that_is_counted(kit: Any, caplog: Any) -> None:
    """Whatever goes wrong before or after the engine has answered, the request ends."""
    served = await kit.gateway()
    served.add(await kit.engine())
    desk = served.gateway._desk

    def fail(*_: Any) -> None:
        raise ValueError("out of order")

    async with line(served) as client:
        await warm(client)
    for name in ("submit", "usage"):
        async with line(served) as client:
            setattr(desk, name, fail)
            client.writer.write(message())
            assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
            delattr(desk, name)
    assert served.requests["failed"] == 2
    assert "out of order" in caplog.text
    await settled(kit, served)
