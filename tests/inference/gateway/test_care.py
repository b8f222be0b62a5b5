"""How the gateway looks after its instances: breakers, resends, slow start, draining, probes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from sage.inference.gateway.breaker import BreakerRule
from sage.inference.gateway.instances import CareRules
from sage.inference.gateway.probe import ProbeRule, ProbeState

CHAT = {"model": "m", "messages": []}
QUICK = CareRules(BreakerRule(failures=3, first_pause=0.2, longest_pause=0.2), slow_start=0.0)
# Long enough that a busy machine sends the next request before it is over.
PATIENT = CareRules(BreakerRule(failures=3, first_pause=2.0, longest_pause=2.0), slow_start=0.0)

pytestmark = pytest.mark.anyio


async def post(url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(f"{url}/v1/chat/completions", json=CHAT, **options)


async def answered(url: str) -> int:
    """Ask until the breaker lets a request through."""
    while (reply := await post(url)).status_code == 503:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.02)
    return reply.status_code


def failing(kit: Any, status: str) -> Any:
    async def handler(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.response(b"{}", status))
        await writer.drain()

    return handler


async def hang_up(request: Any, writer: asyncio.StreamWriter) -> None:
    """Close the connection in place of an answer."""
    writer.close()


async def test_failures_open_the_breaker_and_one_probe_closes_it(kit: Any) -> None:
    """After three 500s the instance is left alone, then tried once, then trusted again."""
    engine = await kit.engine(failing(kit, "500 Internal Server Error"))
    served = await kit.gateway(care=PATIENT)
    served.add(engine)
    for _ in range(3):
        assert (await post(served.url)).status_code == 500
    assert served.instance("a")["breaker"] == "open"
    reply = await post(served.url)
    assert reply.status_code == 503
    assert "HTTP status 500" in reply.json()["error"]["message"]
    assert len(engine.requests) == 3

    engine.handler = kit.answer
    assert await answered(served.url) == 200
    assert served.instance("a")["breaker"] == "closed"
    assert len(engine.requests) == 4


async def test_a_half_open_breaker_lets_one_request_through(kit: Any) -> None:
    """While the probe runs, the others wait; when it is answered, they go."""
    engine = await kit.engine(failing(kit, "500 Internal Server Error"))
    served = await kit.gateway(care=QUICK)
    served.add(engine)
    for _ in range(3):
        await post(served.url)
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await kit.answer(request, writer)

    engine.handler = slow
    while len(engine.requests) == 3:
        # What arrives after a rest lets the gateway look at the time first.
        replies = [asyncio.ensure_future(post(served.url))]
        await kit.eventually(lambda reply=replies[0]: reply.done() or len(engine.requests) > 3)
    replies += [asyncio.ensure_future(post(served.url)) for _ in range(3)]
    await kit.eventually(lambda: served.requests["queued"] == 3)
    assert len(engine.requests) == 4
    gate.set()
    assert [(await reply).status_code for reply in replies] == [200] * 4


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "501 Not Here"])
async def test_4xx_429_and_501_never_open_the_breaker(kit: Any, status: str) -> None:
    """They say that the instance is at work, or that it lacks a route."""
    engine = await kit.engine(failing(kit, status))
    served = await kit.gateway(care=QUICK)
    served.add(engine)
    for _ in range(8):
        assert (await post(served.url)).status_code == int(status[:3])
    assert served.instance("a")["breaker"] == "closed"


@pytest.mark.parametrize("how", ["hang_up", "503 Service Unavailable"])
async def test_a_request_dropped_before_its_answer_goes_elsewhere_once(kit: Any, how: str) -> None:
    """The client sees the other instance's answer, and both attempts are counted."""
    bad = await kit.engine(hang_up if how == "hang_up" else failing(kit, how))
    good = await kit.engine()
    served = await kit.gateway(care=QUICK)
    served.add(bad, "bad")
    served.add(good, "good")
    replies = [await post(served.url) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert {reply.headers["x-sage-instance"] for reply in replies} == {"good"}
    assert len(bad.requests) >= 1
    assert served.instance("bad")["failed"] == len(bad.requests)
    assert served.requests["retried"] == len(bad.requests)


async def test_what_runs_on_an_instance_that_is_taken_away_goes_elsewhere(kit: Any) -> None:
    """Where its answer has not begun: the engine may never close the connection itself."""
    hanging, good = await kit.engine(kit.hang), await kit.engine()
    served = await kit.gateway(care=QUICK)
    served.add(hanging, "gone")
    first = asyncio.ensure_future(post(served.url))
    await asyncio.wait_for(hanging.arrived.wait(), 20)
    served.add(good, "good")
    served.gateway.set_down("gone", "its node vanished", abort=True)
    reply = await first
    assert (reply.status_code, reply.headers["x-sage-instance"]) == (200, "good")
    assert (len(hanging.requests), len(good.requests)) == (1, 1)
    assert served.requests["retried"] == 1


async def test_with_no_other_instance_the_answer_is_passed_on(kit: Any) -> None:
    """A 503 of the only instance, or of the second one too, is the client's to see."""
    first = await kit.engine(failing(kit, "503 Service Unavailable"))
    second = await kit.engine(failing(kit, "503 Service Unavailable"))
    third = await kit.engine(failing(kit, "503 Service Unavailable"))
    served = await kit.gateway(care=QUICK)
    for name, engine in (("a", first), ("b", second), ("c", third)):
        served.add(engine, name)
    reply = await post(served.url)
    assert reply.status_code == 503
    assert reply.content == b"{}"
    assert sum(len(engine.requests) for engine in (first, second, third)) == 2


async def test_resends_can_be_turned_off(kit: Any) -> None:
    """With a share of 0 nothing is sent twice."""
    bad, good = await kit.engine(hang_up), await kit.engine()
    served = await kit.gateway(care=CareRules(resend_share=0.0))
    served.add(bad, "bad")
    served.add(good, "good")
    codes = {(await post(served.url)).status_code for _ in range(2)}
    assert codes == {200, 502}


async def test_a_recovered_instance_gets_its_share_back_slowly(kit: Any) -> None:
    """Its limit rises from a tenth while another serves the model; at the end it is whole."""
    one, two = await kit.engine(), await kit.engine()
    served = await kit.gateway(care=CareRules(slow_start=0.6))
    served.add(one, "one", max_requests=100)
    served.add(two, "two", max_requests=100)
    for _ in range(2):
        await post(served.url)
    served.gateway.set_down("one", "for a while")
    served.gateway.set_up("one")
    assert served.instance("one")["max_requests"] == 10
    limits = set()

    def whole() -> bool:
        limits.add(served.instance("one")["max_requests"])
        return served.instance("one")["max_requests"] == 100

    await kit.eventually(whole)
    assert len(limits) >= 3


async def test_a_lone_instance_is_back_at_once(kit: Any) -> None:
    """With nobody else to serve, holding it back would only make clients wait."""
    engine = await kit.engine()
    served = await kit.gateway(care=CareRules(slow_start=60))
    served.add(engine, max_requests=100)
    await post(served.url)
    served.gateway.set_down("a", "for a while")
    served.gateway.set_up("a")
    assert served.instance("a")["max_requests"] == 100


async def test_draining_lets_running_work_end_and_gives_no_new(kit: Any) -> None:
    """The request under way is answered; the next goes to the other instance."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await kit.answer(request, writer)

    old, new = await kit.engine(slow), await kit.engine()
    served = await kit.gateway()
    served.add(old, "old")
    running = asyncio.ensure_future(post(served.url))
    await old.arrived.wait()
    served.add(new, "new")
    served.gateway.drain("old")
    assert (await post(served.url)).headers["x-sage-instance"] == "new"
    gate.set()
    assert (await running).headers["x-sage-instance"] == "old"
    assert served.instance("old")["held_by"] == ["drain"]
    served.gateway.set_up("old")
    assert served.instance("old")["up"]


async def test_changing_an_instance_drops_nothing(kit: Any) -> None:
    """What runs at the old address ends there; new requests go to the new one."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await kit.answer(request, writer)

    old, new = await kit.engine(slow), await kit.engine()
    served = await kit.gateway()
    served.add(old)
    running = asyncio.ensure_future(post(served.url))
    await old.arrived.wait()
    spec = served.gateway._scheduler.instance("a").spec
    served.gateway.change_instance(spec, new.url)
    assert (await post(served.url)).status_code == 200
    assert len(new.requests) == 1
    gate.set()
    assert (await running).status_code == 200
    served.check_sums()


async def test_an_instance_that_comes_later_is_taken_in(kit: Any) -> None:
    """Down while nobody listens, without being hammered; up soon after somebody does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = await kit.gateway(care=CareRules(probe=ProbeRule(interval=0.1, first_retry=0.05)))
    late = kit.Engine(kit.answer)
    late.url = f"http://localhost:{port}"
    served.add(late)
    await served.gateway.looked(3)
    assert (await post(served.url)).status_code == 503
    assert "Connection refused" in served.instance("a")["reason"]
    server = await asyncio.start_server(late._serve, "127.0.0.1", port)
    try:
        await kit.eventually(lambda: served.instance("a")["up"])
        assert (await post(served.url)).status_code == 200
    finally:
        server.close()
        for task in list(late._tasks):
            task.cancel()
    await kit.eventually(lambda: not served.instance("a")["up"])


async def test_a_server_without_health_is_well_when_it_lists_the_model(kit: Any) -> None:
    """Remote services have no /health; one that lists other models only is down, and says so."""

    async def remote(request: Any, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("GET /health"):
            writer.write(kit.response(b"{}", "404 Not Found"))
        else:
            writer.write(kit.response(b'{"data":[{"id":"other"}]}'))
        await writer.drain()

    engine = await kit.engine(remote)
    served = await kit.gateway(care=CareRules(probe=ProbeRule(interval=0.1)))
    served.add(engine, "right", models=("other",), api_key="secret-key")
    served.add(engine, "wrong", models=("m",))
    await served.gateway.looked(3)
    assert served.instance("right")["up"]
    assert "it lists: other" in served.instance("wrong")["reason"]
    asked = [r for r in engine.requests if "authorization" in r.headers]
    assert asked[0].headers["authorization"] == "Bearer secret-key"


def test_probes_back_off_and_forgive_a_busy_instance() -> None:
    """An unanswered look is forgiven twice; a refused one is not, and the waits grow to a bound."""
    state = ProbeState(ProbeRule(interval=5, misses=3, first_retry=1, longest_retry=4), seed=1)
    assert 4.5 <= state.answered() <= 5.5
    for _ in range(2):
        state.missed(sure=False)
        assert state.up
    state.missed(sure=False)
    assert not state.up
    delays = [state.missed(sure=True) for _ in range(6)]
    assert delays[0] < delays[1] < 4.5
    assert all(3.6 <= delay <= 4.4 for delay in delays[-2:])
    state.answered()
    state.missed(sure=True)
    assert not state.up
