"""Embedding requests that share calls or are cut into several, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from sage.inference.gateway.keys import KeyRing
from sage.inference.scheduling.request import Kind

pytestmark = pytest.mark.anyio


class Embedder:
    """An embedding engine: a text's vector is its length and its first code point.

    Calls wait for the gate, "poison" is refused with ``refusal``, and ``breaks`` connections are
    closed in the place of an answer.
    """

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.gate = asyncio.Event()
        self.calls: list[list[Any]] = []
        self.heads: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.refusal = "400 Bad Request"
        self.breaks = 0
        self.broken_answer: bytes | None = None
        self.open()

    def open(self) -> None:
        self.gate.set()

    def shut(self) -> None:
        self.gate.clear()

    async def __call__(self, request: Any, writer: Any) -> None:
        body = json.loads(request.body)
        given = body["input"]
        inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        self.calls.append(inputs)
        self.heads.append(request.head.lower())
        self.bodies.append(body)
        await self.gate.wait()
        if self.breaks:
            self.breaks -= 1
            writer.close()
            return
        if "poison" in inputs:
            error = {"error": {"message": f"poisoned among {len(inputs)}", "type": "x"}}
            writer.write(self.kit.response(json.dumps(error).encode(), self.refusal))
        elif self.broken_answer is not None and len(inputs) > 1:
            writer.write(self.kit.response(self.broken_answer))
        else:
            writer.write(self.kit.response(self.answer(inputs, body), "200 OK", "x-engine: e"))
        await writer.drain()

    def answer(self, inputs: Sequence[Any], body: dict[str, Any]) -> bytes:
        rows = [
            {"object": "embedding", "index": index, "embedding": embedding(item, body)}
            for index, item in enumerate(inputs)
        ]
        tokens = sum(map(len, inputs))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows[::-1], "model": "m", "usage": usage}
        return json.dumps(answer).encode()


def embedding(item: Any, body: dict[str, Any]) -> Any:
    numbers = [float(len(item)), float(ord(item[0]) if isinstance(item, str) else item[0])]
    if body.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack("<2f", *numbers)).decode()


class World:
    """A gateway with embedding engines behind it, and a client."""

    def __init__(self, kit: Any, served: Any, engine: Embedder, client: Any) -> None:
        self.kit = kit
        self.served = served
        self.engine = engine
        self.client = client

    def ask(self, given: Any, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """Start a request."""
        payload = {"model": "m", "input": given, **fields}
        url = self.served.url + "/v1/embeddings"
        return asyncio.ensure_future(self.client.post(url, json=payload, headers=headers))

    async def busy(self, calls: int = 1) -> list[Any]:
        """Put so many calls on the wire that do not end before the gate opens."""
        self.engine.shut()
        asked = []
        for number in range(calls):
            asked.append(self.ask(f"busy {number}"))
            await self.kit.eventually(lambda: len(self.engine.calls) == len(asked))
        return asked

    async def riding(self, count: int, name: str = "a") -> None:
        """Wait until so many requests wait or are on the wire."""
        await self.kit.eventually(lambda: self.calls(name)["riding"] == count)

    def calls(self, name: str = "a") -> dict[str, int]:
        counts: dict[str, int] = self.served.instance(name)["embedding_calls"]
        return counts


@pytest.fixture
async def world(kit: Any) -> Any:
    """One engine that takes one call at a time."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.add(engine, kind=Kind.EMBEDDING, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        yield World(kit, served, made, client)


def vectors(reply: Any) -> list[Any]:
    assert reply.status_code == 200, reply.text
    # An answer that goes as it came has the rows in the engine's order, the last first.
    rows = sorted(reply.json()["data"], key=lambda row: row["index"])
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return [row["embedding"] for row in rows]


async def test_a_request_alone_passes_byte_for_byte(world: World) -> None:
    """On an idle instance nothing about a request or its answer changes, and nothing waits."""
    body = b'{ "input": ["bb", "a"],\n "model":"m", "x": 1.50 }'
    async with httpx2.AsyncClient(headers={"x-mine": "1"}) as client:
        reply = await client.post(world.served.url + "/v1/embeddings", content=body)
    assert reply.content == world.engine.answer(["bb", "a"], {})
    assert "x-mine: 1" in world.engine.heads[0]
    assert f"content-length: {len(body)}" in world.engine.heads[0]
    assert "accept-encoding" in world.engine.heads[0]
    assert world.calls()["shared"] == 0


async def test_requests_that_wait_share_one_call(world: World) -> None:
    """Each caller gets its own vectors, in its own order, with usage that adds up."""
    (first,) = await world.busy()
    asked = [world.ask(["ccc", "a"]), world.ask("bbbbbb"), world.ask(["dd"])]
    await world.riding(4)
    world.engine.open()
    replies = await asyncio.gather(*asked)
    assert vectors(await first) == [[6, ord("b")]]
    assert [vectors(reply) for reply in replies] == [
        [[3, ord("c")], [1, ord("a")]],
        [[6, ord("b")]],
        [[2, ord("d")]],
    ]
    assert len(world.engine.calls) == 2
    assert sorted(world.engine.calls[1], key=len) == ["a", "dd", "ccc", "bbbbbb"]
    assert world.engine.calls[1][0] == "bbbbbb"
    usages = [reply.json()["usage"] for reply in replies]
    assert sum(usage["prompt_tokens"] for usage in usages) == 12
    assert all(usage["prompt_tokens"] == usage["total_tokens"] for usage in usages)
    assert all(reply.headers["x-engine"] == "e" for reply in replies)
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3
    counts = world.calls()
    assert (counts["requests"], counts["calls"], counts["shared"]) == (4, 2, 3)
    assert world.served.requests["done"] == 4


async def test_base64_and_token_ids_share_calls_of_their_own(world: World) -> None:
    """A call holds requests of one encoding and one kind of input, and both come out whole."""
    (first,) = await world.busy()
    groups = [
        [world.ask("aa", encoding_format="base64"), world.ask("bbb", encoding_format="base64")],
        [world.ask([7, 8, 9]), world.ask([[4], [5, 6]])],
    ]
    # Requests of another group have calls of their own: the first of each is on the wire.
    await world.kit.eventually(lambda: len(world.engine.calls) == 3)
    groups[0] += [world.ask("c", encoding_format="base64")]
    groups[1] += [world.ask([[1, 1]])]
    await world.riding(7)
    world.engine.open()
    texts, ids = [await asyncio.gather(*group) for group in groups]
    await first
    decoded = [struct.unpack("<2f", base64.b64decode(vectors(reply)[0])) for reply in texts]
    assert decoded == [(2, ord("a")), (3, ord("b")), (1, ord("c"))]
    assert [vectors(reply) for reply in ids] == [[[3, 7]], [[1, 4], [2, 5]], [[2, 1]]]
    assert len(world.engine.calls) == 5


@pytest.mark.parametrize(
    "other",
    [
        {"dimensions": 2},
        {"user": "somebody"},
        {"headers": {"authorization": "Bearer other"}},
        {"headers": {"x-tier": "gold"}},
    ],
)
async def test_requests_that_differ_do_not_share(world: World, other: dict[str, Any]) -> None:
    """Another field, key or header makes a call of its own, which waits for nobody."""
    first = await world.busy()
    asked = world.ask("a", **other)
    await world.kit.eventually(lambda: len(world.engine.calls) == 2)
    world.engine.open()
    assert vectors(await asked) == [[1, ord("a")]]
    await asyncio.gather(*first)
    assert world.calls()["shared"] == 0


async def test_tenants_do_not_share(kit: Any) -> None:
    """The inputs of two keys' owners never stand in one body."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway(keys=KeyRing(["first-key", "second-key"]))
    served.add(engine, kind=Kind.EMBEDDING, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        made.shut()
        one, two = ({"authorization": f"Bearer {key}"} for key in ("first-key", "second-key"))
        asked = [world.ask("a", one), world.ask("b", two)]
        await kit.eventually(lambda: len(made.calls) == 2)
        asked += [world.ask("aa", one), world.ask("aaa", one), world.ask("bb", two)]
        await world.riding(5)
        made.open()
        for reply in await asyncio.gather(*asked):
            vectors(reply)
    assert sorted(sorted(call) for call in made.calls) == [["a"], ["aa", "aaa"], ["b"], ["bb"]]
    assert not any("authorization" in head for head in made.heads)


async def test_headers_of_one_client_are_not_sent_for_all(world: World) -> None:
    """A shared call names no one client, has no trace of one, and is not to be compressed."""
    first = await world.busy()
    asked = [
        world.ask("a", {"traceparent": "00-1", "user-agent": "x"}),
        world.ask("b", {"traceparent": "00-2", "accept-encoding": "br", "x-stainless-lang": "js"}),
    ]
    await world.riding(3)
    world.engine.open()
    await asyncio.gather(*first, *asked)
    assert world.engine.calls[1] == ["a", "b"]
    head = world.engine.heads[1]
    for name in ("traceparent", "user-agent", "accept-encoding", "x-stainless"):
        assert name not in head
    assert "content-type: application/json" in head


@pytest.mark.parametrize("refusal", ["400 Bad Request", "413 Too Large", "500 Oops"])
async def test_one_bad_input_does_not_fail_the_others(world: World, refusal: str) -> None:
    """A shared call that is refused is made again, one by one: the culprit alone gets its error."""
    world.engine.refusal = refusal
    first = await world.busy()
    asked = [world.ask("a"), world.ask("poison"), world.ask(["b", "cc"])]
    await world.riding(4)
    world.engine.open()
    good, bad, better = await asyncio.gather(*asked)
    await asyncio.gather(*first)
    assert bad.status_code == int(refusal[:3])
    assert bad.json()["error"]["message"] == "poisoned among 1"
    assert vectors(good) == [[1, ord("a")]]
    assert vectors(better) == [[1, ord("b")], [2, ord("c")]]
    assert world.calls()["resent"] == 3
    failed = int(refusal.startswith("5"))
    assert world.served.requests["failed"] == failed
    assert world.served.requests["done"] == 4 - failed


async def test_a_refusal_that_is_meant_for_all_is_not_asked_for_again(world: World) -> None:
    """429 goes to everyone who shared the call, as it came."""
    world.engine.refusal = "429 Too Many Requests"
    first = await world.busy()
    asked = [world.ask("a"), world.ask("poison")]
    await world.riding(3)
    world.engine.open()
    replies = await asyncio.gather(*asked)
    await asyncio.gather(*first)
    assert [reply.status_code for reply in replies] == [429, 429]
    assert len(world.engine.calls) == 2


@pytest.mark.parametrize("nonsense", [b"{}", b'{"data":[{"index":0},{"index":0}]}'])
async def test_an_answer_that_cannot_be_told_apart_is_asked_for_one_by_one(
    world: World, nonsense: bytes
) -> None:
    """Nobody gets another's vector, and nobody fails for the engine's odd answer."""
    world.engine.broken_answer = nonsense
    first = await world.busy()
    asked = [world.ask("a"), world.ask("bb")]
    await world.riding(3)
    world.engine.open()
    replies = await asyncio.gather(*asked)
    await asyncio.gather(*first)
    assert [vectors(reply) for reply in replies] == [[[1, ord("a")]], [[2, ord("b")]]]


async def test_a_caller_that_leaves_does_not_hurt_the_others(world: World) -> None:
    """The rest of its call goes on; the call is broken off once nobody is left."""
    (first,) = await world.busy()
    asked = [world.ask("a"), world.ask("bb")]
    await world.riding(3)
    first.cancel()
    await world.kit.eventually(lambda: len(world.engine.calls) == 2)
    asked[0].cancel()
    await world.kit.eventually(lambda: world.served.requests["cancelled"] == 2)
    await world.riding(1)
    world.engine.open()
    assert vectors(await asked[1]) == [[2, ord("b")]]
    with contextlib.suppress(asyncio.CancelledError):
        await asked[0]


async def test_a_call_that_nobody_waits_for_is_aborted(kit: Any) -> None:
    """The engine's work ends when the last caller has left, and the next call can go."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.add(engine, kind=Kind.EMBEDDING, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        (blocker,) = await world.busy()
        leaving = [world.ask("dd"), world.ask("ee")]
        await world.riding(3)
        blocker.cancel()
        await kit.eventually(lambda: len(made.calls) == 2)
        assert sorted(made.calls[1]) == ["dd", "ee"]
        engine.aborted.clear()
        for one in leaving:
            one.cancel()
        await asyncio.wait_for(engine.aborted.wait(), 20)
        await world.riding(0)
        made.open()
        assert vectors(await world.ask("f")) == [[1, ord("f")]]
    await kit.eventually(lambda: served.requests["cancelled"] == 3)


async def test_a_large_request_is_cut_and_joined(kit: Any) -> None:
    """No call is above the limits, several are under way at once, and the answer is in order."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.add(engine, kind=Kind.EMBEDDING, max_inputs=10, max_calls=8)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        texts = [chr(97 + n % 26) * (n % 37 + 1) for n in range(95)]
        made.shut()
        asked = world.ask(texts)
        await kit.eventually(lambda: len(made.calls) == 2)
        # The other calls are kept for those who wait for an answer.
        urgent = world.ask("z")
        await kit.eventually(lambda: len(made.calls) == 3)
        assert made.calls[2] == ["z"]
        made.open()
        assert vectors(await urgent) == [[1, ord("z")]]
        reply = await asked
    assert vectors(reply) == [[len(text), ord(text[0])] for text in texts]
    assert reply.json()["usage"]["prompt_tokens"] == sum(map(len, texts))
    assert max(len(call) for call in made.calls) <= 10
    assert world.calls()["split"] == 1
    assert served.requests == {**served.requests, "received": 2, "done": 2}


async def test_a_text_does_not_wait_for_bulk_to_end(kit: Any) -> None:
    """A policy that paces prefill does not hold single texts back behind a large request."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.gateway.set_policy("slo_aware")
    served.add(engine, kind=Kind.EMBEDDING, max_calls=2)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        made.shut()
        bulk = world.ask(["a" * 1000] * 100)
        await kit.eventually(lambda: len(made.calls) == 1)
        single = world.ask("b")
        await kit.eventually(lambda: len(made.calls) == 2)
        assert made.calls[1] == ["b"]
        made.open()
        vectors(await single)
        assert len(vectors(await bulk)) == 100


async def test_an_error_in_a_part_is_the_answer(kit: Any) -> None:
    """The engine's error reaches the caller once, and parts that have not gone do not go."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.add(engine, kind=Kind.EMBEDDING, max_inputs=2, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        reply = await world.ask(["poison", "a", "b", "c", "d", "e", "f", "g"])
    assert reply.status_code == 400
    assert "poisoned" in reply.text
    assert len(made.calls) == 1
    await world.riding(0)


async def test_a_shared_call_that_breaks_off_goes_elsewhere(kit: Any) -> None:
    """Its requests are sent to another instance, and it counts once against the first."""
    bad, good = Embedder(kit), Embedder(kit)
    served = await kit.gateway()
    served.add(await kit.engine(bad), "a", kind=Kind.EMBEDDING, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, bad, client)
        (first,) = await world.busy()
        asked = [world.ask(text) for text in ("a", "bb", "ccc", "dddd", "eeeee", "ffffff")]
        await world.riding(7)
        served.add(await kit.engine(good), "b", kind=Kind.EMBEDDING, max_calls=1)
        bad.breaks = 2
        bad.open()
        replies = await asyncio.gather(first, *asked)
    assert [vectors(reply)[0][0] for reply in replies] == [6, 1, 2, 3, 4, 5, 6]
    assert {reply.headers["x-sage-instance"] for reply in replies} == {"b"}
    assert served.instance("a")["breaker"] == "closed"
    assert served.instance("a")["failed"] == 7
    assert served.requests == {**served.requests, "done": 7, "failed": 0}


async def test_what_is_not_plain_goes_as_it_is(world: World) -> None:
    """Such a body neither waits for a call nor is changed."""
    first = await world.busy()
    asked = world.ask(["a", ""])
    await world.kit.eventually(lambda: len(world.engine.calls) == 2)
    assert world.engine.calls[1] == ["a", ""]
    for task in (*first, asked):
        task.cancel()
    await world.kit.eventually(lambda: world.served.requests["cancelled"] == 2)
    assert world.calls()["requests"] == 1


async def test_coalescing_can_be_turned_off(kit: Any) -> None:
    """Then every request is a call of its own, whatever is on the wire."""
    made = Embedder(kit)
    served = await kit.gateway()
    served.add(await kit.engine(made), kind=Kind.EMBEDDING, coalesce=False, max_calls=1)
    async with httpx2.AsyncClient(timeout=10) as client:
        world = World(kit, served, made, client)
        made.shut()
        asked = [world.ask("a"), world.ask("b")]
        await kit.eventually(lambda: len(made.calls) == 2)
        made.open()
        for reply in await asyncio.gather(*asked):
            vectors(reply)
    assert served.instance("a")["embedding_calls"] is None


async def test_every_caller_gets_its_own_under_load(kit: Any) -> None:
    """Hundreds of requests of many kinds, some leaving, some poisoned: each gets what it asked."""
    made = Embedder(kit)
    engine = await kit.engine(made)
    served = await kit.gateway()
    served.add(engine, kind=Kind.EMBEDDING, max_calls=2, max_inputs=16, max_batch_tokens=200)
    async with httpx2.AsyncClient(timeout=20) as client:
        world = World(kit, served, made, client)
        texts = [
            [chr(97 + (n + i) % 26) * ((7 * n + i) % 90 + 1) for i in range(n % 23 + 1)]
            for n in range(300)
        ]
        for n in range(0, 300, 50):
            texts[n][0] = "poison"
        asked = [world.ask(group) for group in texts]
        for n in range(10, 300, 50):
            asked[n].cancel()
        replies = await asyncio.gather(*asked, return_exceptions=True)
    for n, (group, reply) in enumerate(zip(texts, replies, strict=True)):
        if n % 50 == 10:
            assert isinstance(reply, asyncio.CancelledError)
        elif n % 50 == 0:
            assert reply.status_code == 400
        else:
            assert vectors(reply) == [[len(text), ord(text[0])] for text in group]
    await kit.eventually(lambda: served.requests["open"] == 0)
    await world.riding(0)
    assert world.calls()["shared"] > 20
    assert world.calls()["split"] > 20
    assert not served.gateway._desk.backends["a"].bus._stops
