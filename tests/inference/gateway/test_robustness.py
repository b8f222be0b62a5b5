"""Whatever comes in, from clients or engines, every request ends and is counted once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.inference.gateway import Gateway
from sage.inference.gateway.proxy import ResponseCutShortError
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

header_bytes = st.binary(max_size=20)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
).map(lambda value: repr(value).encode("utf-8", "replace"))
BODIES = st.one_of(
    st.binary(max_size=200),
    JSONISH,
    st.sampled_from(
        [
            b"",
            b"null",
            b"0",
            b"[" * 5000,
            b'{"model":' * 3000,
            b'{"model":"m\xff"}',
            b'{"model":"\\ud800"}',
            b'{"model":"\\u0000\\r\\n"}',
            b'{"model":"m","model":"n"}',
            b'{"stream":null,"model":""}',
            b"\xef\xbb\xbf{}",
        ]
    ),
)
PATHS = st.one_of(
    st.sampled_from(["/v1/chat/completions", "/v1/embeddings", "/v1/models/", "/health", "/"]),
    st.text(max_size=20).map(lambda text: "/" + text),
)
METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])


async def call(gateway: Gateway, scope: dict[str, Any], body: bytes) -> int:
    """Call the app as a server would, and return the status after checking the answer's form."""
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    with anyio.fail_after(5):
        await gateway.app(scope, receive, send)
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    return int(sent[0]["status"])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=METHODS,
    path=PATHS,
    body=BODIES,
    query=header_bytes,
    headers=st.lists(st.tuples(header_bytes.map(bytes.lower), header_bytes), max_size=4),
)
def test_no_input_is_a_500_or_hangs(
    method: str, path: str, body: bytes, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Any method, path, query, headers and body get an answer that is no 500, and are counted."""

    async def run() -> None:
        gateway = Gateway()
        for kind in Kind:
            spec = InstanceSpec(kind.value, kind, ("m",))
            gateway.add_instance(spec, "http://127.0.0.1:1")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": headers,
        }
        status = await call(gateway, scope, body)
        assert status in (200, 400, 404, 405, 413, 502)
        counts = gateway.snapshot()["requests"]
        assert counts["open"] == 0
        ends = sum(counts[name] for name in ("done", "failed", "cancelled", "rejected"))
        assert counts["received"] == ends
        await gateway.aclose()

    asyncio.run(run())


@pytest.mark.anyio
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=120), tail=st.booleans())
async def test_no_engine_bytes_hang_the_gateway(kit: Any, data: bytes, tail: bool) -> None:
    """Any bytes from an engine give the client an answer or a closed connection."""
    prefix = b"HTTP/1.1 200 OK\r\n" if tail else b""

    async def handler(request: Any, writer: Any) -> None:
        writer.write(prefix + data)
        await writer.drain()
        writer.close()

    engine = await kit.engine(handler)
    gateway = Gateway()
    gateway.add_instance(InstanceSpec("a", Kind.LLM, ("m",)), engine.url)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(gateway.app), base_url="http://g", timeout=5
    ) as client:
        status = 502
        with contextlib.suppress(ResponseCutShortError):
            reply = await client.post("/v1/completions", content=b'{"model":"m"}')
            status = reply.status_code
        assert status in (200, 502)
    counts = gateway.snapshot()["requests"]
    assert (counts["received"], counts["open"]) == (1, 0)
    assert gateway._scheduler.invariants() == []
    await gateway.aclose()
    await engine.stop()


class Moody:
    """An engine that answers, fails, breaks, talks nonsense or hangs, by dice."""

    def __init__(self, kit: Any, dice: random.Random) -> None:
        self.kit = kit
        self.dice = dice

    async def __call__(self, request: Any, writer: Any) -> None:
        moods = [self.answer, self.fail, self.close, self.break_off, self.babble, self.hang]
        (mood,) = self.dice.choices(moods, weights=[8, 2, 2, 2, 1, 5])
        await mood(request, writer)

    async def answer(self, request: Any, writer: Any) -> None:
        await self.kit.answer(request, writer)

    async def fail(self, request: Any, writer: Any) -> None:
        writer.write(self.kit.response(b"{}", "500 Oops"))

    async def close(self, request: Any, writer: Any) -> None:
        writer.close()

    async def break_off(self, request: Any, writer: Any) -> None:
        writer.write(self.kit.STREAM_HEAD + self.kit.chunk(b"data: x\n\n"))
        await writer.drain()
        writer.close()

    async def babble(self, request: Any, writer: Any) -> None:
        writer.write(b"garbage\r\n\r\n")

    async def hang(self, request: Any, writer: Any) -> None:
        await asyncio.Event().wait()


async def impatient_client(url: str, dice: random.Random, statuses: list[int]) -> None:
    """Send ten requests, some malformed, and leave half of those not answered soon."""
    async with httpx2.AsyncClient(timeout=5) as http:
        for _ in range(10):
            patience = 0.05 if dice.random() < 0.5 else 5.0
            body = b"{" if dice.random() < 0.1 else b'{"model":"m","stream":true}'
            with contextlib.suppress(httpx2.HTTPError):
                reply = await http.post(
                    url + "/v1/chat/completions", content=body, timeout=patience
                )
                statuses.append(reply.status_code)


async def client_of_the_lone_engine(url: str, statuses: list[int]) -> None:
    """Ask for the model that only one engine has."""
    async with httpx2.AsyncClient(timeout=5) as http:
        reply = await http.post(url + "/v1/completions", content=b'{"model":"n"}')
        statuses.append(reply.status_code)


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Read one answer, and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"\r\ncontent-length: " in head:
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    return int(head.split()[1])


async def repetitive_client(port: int, dice: random.Random, statuses: list[int]) -> None:
    """Send ten requests whose heads are one, some two at a time, over a connection that is kept
    until it breaks or an answer does not come soon."""
    writer: asyncio.StreamWriter | None = None
    asked = 0
    while asked < 10:
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        many = 2 if dice.random() < 0.2 else 1
        for _ in range(many):
            body = b"{" if dice.random() < 0.1 else b'{"model":"m"%b}' % (b" " * dice.randrange(9))
            head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
            asked += 1
        try:
            async with asyncio.timeout(0.05 if dice.random() < 0.5 else 5.0):
                statuses += [await read_answer(reader) for _ in range(many)]
        except (TimeoutError, OSError, EOFError):
            writer.transport.abort()
            writer = None
    if writer is not None:
        writer.transport.abort()


async def flapping_instances(gateway: Gateway, dice: random.Random) -> None:
    """Take instances a and b down and up again."""
    for _ in range(20):
        await asyncio.sleep(0.05)
        name = dice.choice("ab")
        gateway.set_down(name, "chaos", abort=dice.random() < 0.5)
        await asyncio.sleep(0.02)
        gateway.set_up(name)


@pytest.mark.anyio
async def test_sums_agree_after_chaos(kit: Any) -> None:
    """Whatever engines, clients and instances do, at the end every request has one end, and no
    slot or connection is left."""
    dice = random.Random(7)
    served = await kit.gateway(request_timeout=0.6, max_queued=24)
    for name in ("a", "b", "c"):
        served.add(await kit.engine(Moody(kit, dice)), name, max_requests=3)
    # What fails at one instance goes to the next; with this model there is none.
    served.add(await kit.engine(Moody(kit, dice).babble), "lone", models=("n",))
    dead = await kit.engine()
    await dead.stop()
    served.add(dead, "dead", max_requests=2)
    statuses: list[int] = []
    await asyncio.gather(
        flapping_instances(served.gateway, dice),
        *(impatient_client(served.url, dice, statuses) for _ in range(20)),
        *(repetitive_client(served.port, dice, statuses) for _ in range(20)),
        client_of_the_lone_engine(served.url, statuses),
    )
    await kit.eventually(lambda: served.requests["open"] == 0)
    served.check_sums()
    counts = served.requests
    # Some clients give up before they have sent anything.
    assert 200 < counts["received"] <= 420
    assert served.gateway.app.express.served > 50
    assert min(counts["done"], counts["failed"], counts["cancelled"], counts["rejected"]) > 0
    assert (counts["queued"], counts["in_flight"]) == (0, 0)
    assert counts["retried"] > 0
    assert {200, 400, 500, 502, 504} <= set(statuses)
    for name in ("a", "b", "c", "lone"):
        upstream = served.gateway._desk.backends[name].upstream
        await kit.eventually(lambda upstream=upstream: upstream.open == upstream.idle)
