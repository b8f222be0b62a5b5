"""The management routes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

CHAT = {"model": "m", "messages": []}

pytestmark = pytest.mark.anyio


async def call(url: str, method: str, path: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.request(method, f"{url}/v1/management/{path}", **options)


async def chat(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(f"{url}/v1/chat/completions", json=CHAT)


async def test_an_instance_is_added_drained_resumed_and_removed(kit: Any) -> None:
    """Each step shows in the list and in where requests go."""
    engine = await kit.engine()
    served = await kit.gateway()
    port = int(engine.url.rsplit(":", 1)[1])
    body = {"port": port, "model_name": "m", "instance_id": "new", "max_concurrent_requests": 7}
    added = await call(served.url, "POST", "instances", json=body)
    assert added.status_code == 201
    assert added.json()["max_requests"] == 7
    assert (await call(served.url, "POST", "instances", json=body)).status_code == 409
    assert (await chat(served.url)).status_code == 200

    drained = await call(served.url, "POST", "instances/new/drain")
    assert drained.json()["held_by"] == ["drain"]
    assert (await chat(served.url)).status_code == 503
    assert (await call(served.url, "POST", "instances/new/resume")).json()["up"]
    assert (await chat(served.url)).status_code == 200

    listed = await call(served.url, "GET", "instances")
    assert [item["id"] for item in listed.json()["instances"]] == ["new"]
    removed = await call(served.url, "DELETE", "instances/new?drain_timeout=1")
    assert removed.json() == {"removed": "new"}
    assert (await call(served.url, "GET", "instances/new")).status_code == 404
    assert (await chat(served.url)).status_code == 404


async def test_removing_waits_for_what_runs(kit: Any) -> None:
    """The request under way is answered before the instance is gone."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await kit.answer(request, writer)

    engine = await kit.engine(slow)
    served = await kit.gateway()
    served.add(engine)
    running = asyncio.ensure_future(chat(served.url))
    await engine.arrived.wait()
    removing = asyncio.ensure_future(call(served.url, "DELETE", "instances/a"))
    await kit.eventually(lambda: not served.instance("a")["up"])
    gate.set()
    assert (await running).status_code == 200
    assert (await removing).status_code == 200


async def test_the_policy_is_read_and_set(kit: Any) -> None:
    """An unknown one is 400 with the nearest name, and changes nothing."""
    served = await kit.gateway()
    before = (await call(served.url, "GET", "policy")).json()
    assert before["policy"] in before["available"]
    same = await call(served.url, "PUT", "policy", json={"policy": "fifo"})
    assert same.json() == {"policy": "fifo"}
    wrong = await call(served.url, "PUT", "policy", json={"policy": "fifi"})
    assert wrong.status_code == 400
    assert "did you mean 'fifo'" in wrong.json()["error"]["message"]
    assert (await call(served.url, "PUT", "policy", json={"name": "fifo"})).status_code == 400


async def test_status_and_metrics(kit: Any) -> None:
    """Counts agree with the snapshot, times come with their percentiles."""
    served = await kit.gateway()
    served.add(await kit.engine())
    await chat(served.url)
    status = (await call(served.url, "GET", "status")).json()
    assert (status["status"], status["requests"]["done"]) == ("ok", 1)
    (series,) = (await call(served.url, "GET", "metrics")).json()["series"]
    assert series["model"] == "m"
    assert series["requests"]["done"] == 1
    assert series["e2e_ms"]["p95"] > 0
    assert series["completion_tokens"] == 1


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "says"),
    [
        ("POST", "instances", {"json": {"prot": 1, "model_name": "m"}}, 400, "did you mean 'port'"),
        ("POST", "instances", {"json": {"port": "x", "model_name": "m"}}, 400, "port"),
        ("POST", "instances", {"content": b"{"}, 400, "not JSON"),
        ("POST", "instances", {"json": []}, 400, "object"),
        ("POST", "instances/zz/drain", {}, 404, "no instance 'zz'"),
        ("DELETE", "instances/zz?drain_timeout=-1", {}, 400, "drain_timeout"),
        ("POST", "reload", {}, 409, "configuration file"),
        ("PATCH", "policy", {}, 405, "not allowed"),
        ("GET", "nothing", {}, 404, "GET status"),
        ("PUT", "policy", {"json": {}, "headers": {"origin": "https://evil"}}, 403, "web pages"),
    ],
)
async def test_mistakes_are_named(
    kit: Any, method: str, path: str, options: dict[str, Any], status: int, says: str
) -> None:
    """A wrong call says what is wrong and changes nothing."""
    served = await kit.gateway()
    reply = await call(served.url, method, path, **options)
    assert reply.status_code == status
    assert says in reply.json()["error"]["message"]
    assert served.gateway.snapshot()["instances"] == []
