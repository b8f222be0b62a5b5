"""API keys for requests and for management."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.keys import KeyRing

CHAT = {"model": "m", "messages": []}
CLIENT, MANAGER = "client-key-1", "manager-key-1"

pytestmark = pytest.mark.anyio


async def call(url: str, method: str, path: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.request(method, url + path, **options)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_requests_need_a_key_and_engines_never_see_it(kit: Any) -> None:
    """401 in OpenAI's shape without one; a key may come hashed from the configuration."""
    hashed = "sha256:" + hashlib.sha256(CLIENT.encode()).hexdigest()
    engine = await kit.engine()
    served = await kit.gateway(keys=KeyRing([hashed], [MANAGER]))
    served.add(engine)
    path = "/v1/chat/completions"
    for headers in ({}, bearer("wrong-key-1"), {"authorization": "Basic abc"}):
        reply = await call(served.url, "POST", path, json=CHAT, headers=headers)
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert "wrong-key-1" not in reply.text
    assert engine.requests == []
    for headers in (bearer(CLIENT), bearer(MANAGER), {"x-api-key": CLIENT}):
        reply = await call(served.url, "POST", path, json=CHAT, headers=headers)
        assert reply.status_code == 200
    for request in engine.requests:
        assert "authorization" not in request.headers
        assert "x-api-key" not in request.headers


async def test_pages_with_keys(kit: Any) -> None:
    """Models and metrics need a key; health says only how it is; management needs its own."""
    engine = await kit.engine()
    served = await kit.gateway(keys=KeyRing([CLIENT], [MANAGER]))
    served.add(engine)
    for path in ("/v1/models", "/metrics"):
        assert (await call(served.url, "GET", path)).status_code == 401
        assert (await call(served.url, "GET", path, headers=bearer(CLIENT))).status_code == 200
    assert (await call(served.url, "GET", "/health")).json() == {"status": "ok"}
    whole = await call(served.url, "GET", "/health", headers=bearer(CLIENT))
    assert whole.json()["instances"][0]["id"] == "a"
    assert (await call(served.url, "GET", "/ready")).json() == {"ready": True}
    status = "/v1/management/status"
    assert (await call(served.url, "GET", status, headers=bearer(CLIENT))).status_code == 401
    assert (await call(served.url, "GET", status, headers=bearer(MANAGER))).status_code == 200


async def test_without_keys_an_x_api_key_is_passed_on(kit: Any) -> None:
    """It belongs to the engine then, as Authorization does."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    await call(
        served.url, "POST", "/v1/messages", json=CHAT, headers={"x-api-key": "for-the-engine"}
    )
    assert engine.requests[0].headers["x-api-key"] == "for-the-engine"


@pytest.mark.parametrize(
    ("ring", "open_to_all"),
    [
        (KeyRing(), True),
        (KeyRing(remote=True), False),
        (KeyRing([CLIENT]), False),
        (KeyRing((), [MANAGER]), False),
    ],
)
def test_when_management_is_open(ring: KeyRing, open_to_all: bool) -> None:
    """Only on this machine, and only while no key of either sort is configured."""
    if open_to_all:
        ring.check_management(b"")
        return
    with pytest.raises(ApiError) as refused:
        ring.check_management(b"")
    assert refused.value.status in (401, 403)


def test_management_keys_alone_leave_requests_open() -> None:
    """Requests need a key only once there are inference keys."""
    assert not KeyRing((), [MANAGER]).guarded
    assert KeyRing([CLIENT]).tenant(b"Bearer " + CLIENT.encode()) != CLIENT


@pytest.mark.parametrize("key", ["short", "with space in it", "sha256:zz", "smörgåsbord-key"])
def test_keys_that_cannot_be_used_are_refused_without_showing_them(key: str) -> None:
    """The message does not hold the key."""
    with pytest.raises(ConfigError) as refused:
        KeyRing([key])
    assert key not in str(refused.value)
