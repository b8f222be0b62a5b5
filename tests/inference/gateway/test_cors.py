"""Pages in browsers: refused unless configured."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError
from sage.inference.gateway import BackendInstanceConfig, UnifiedAPIServer, UnifiedServerConfig
from sage.inference.gateway.cors import Cors, check_origins

pytestmark = pytest.mark.anyio

PAGE = "https://app.example.com"
CHAT = {"model": "m", "messages": []}
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type",
}
PATH = "/v1/chat/completions"


async def serve(kit: Any, *origins: str) -> UnifiedAPIServer:
    engine = await kit.engine()
    backend = BackendInstanceConfig(base_url=engine.url, model_name="m")
    return UnifiedAPIServer(
        UnifiedServerConfig(
            port=0, llm_backends=[backend], cors_origins=origins, api_keys=["cors-test-key"]
        )
    )


async def ask(url: str, method: str, path: str = PATH, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.request(method, url + path, **options)


async def test_off_unless_configured(kit: Any) -> None:
    """No layer, no header, and a preflight is a method that is not allowed."""
    server = await serve(kit)
    assert server.app is server.gateway.app
    async with server:
        reply = await ask(server.url, "OPTIONS", headers=PREFLIGHT)
        assert reply.status_code == 405
        assert not any(name.startswith("access-control") for name in reply.headers)


async def test_a_page_of_a_configured_origin(kit: Any) -> None:
    """Its preflight needs no key, its requests do; it may read the gateway's own headers."""
    server = await serve(kit, PAGE)
    assert isinstance(server.app, Cors)
    async with server:
        asked = await ask(server.url, "OPTIONS", headers=PREFLIGHT)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "authorization, content-type"
        assert asked.headers["vary"] == "origin"
        key = {"authorization": "Bearer cors-test-key"}
        for headers, status in ((key, 200), ({}, 401)):
            reply = await ask(server.url, "POST", json=CHAT, headers={"origin": PAGE, **headers})
            assert reply.status_code == status
            assert reply.headers["access-control-allow-origin"] == PAGE
            exposed = reply.headers["access-control-expose-headers"]
            for name in ("x-request-id", "x-sage-queue-ms", "x-ratelimit-remaining-tokens"):
                assert name in exposed
            assert "access-control-allow-credentials" not in reply.headers


async def test_other_origins_get_nothing(kit: Any) -> None:
    """The preflight is refused; the answer to a plain request cannot be read by the page."""
    server = await serve(kit, PAGE)
    async with server:
        other = {**PREFLIGHT, "origin": "https://evil.example.com"}
        refused = await ask(server.url, "OPTIONS", headers=other)
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        reply = await ask(server.url, "GET", "/health", headers=other)
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "origin"
        assert (await ask(server.url, "GET", "/health")).headers["vary"] == "origin"


async def test_management_is_not_for_pages(kit: Any) -> None:
    """Whatever origins are configured."""
    server = await serve(kit, "*")
    async with server:
        reply = await ask(
            server.url, "OPTIONS", "/v1/management/policy", headers={**PREFLIGHT, "origin": PAGE}
        )
        assert "access-control-allow-origin" not in reply.headers
        page = await ask(server.url, "GET", "/health", headers={"origin": PAGE})
        assert page.headers["access-control-allow-origin"] == "*"


async def test_turning_it_on_needs_a_restart(kit: Any) -> None:
    """A reload that would is refused, and says so."""
    server = await serve(kit)
    async with server:
        await asyncio.sleep(0)
        with pytest.raises(ConfigError, match="cors_origins cannot change while serving"):
            server.reload(UnifiedServerConfig(port=0, cors_origins=[PAGE]))


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "HTTPS://x", "https://a, https://b"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """An origin with a path never matches what browsers send."""
    with pytest.raises(ConfigError, match="no origin"):
        check_origins([origin])
    with pytest.raises(ConfigError, match="cors_origins must be a list"):
        UnifiedServerConfig(cors_origins="https://app.example.com")
