"""The gateway's routes, what passes through it, and what it answers itself."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError, InferenceError
from sage.inference.gateway import Gateway, GatewayLimits
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

pytestmark = pytest.mark.anyio

CHAT = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}]}


async def post(url: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx2.AsyncClient(timeout=10) as client:
        return await client.post(
            url + path, content=content, headers={"content-type": "application/json", **headers}
        )


async def test_body_and_headers_pass_through_unchanged(kit: Any) -> None:
    """The engine gets the client's bytes and headers; the client gets the engine's."""
    lines = ("x-mine: yes", "x-sage-queue-ms: another gateway's")
    engine = await kit.engine(
        lambda request, writer: _write(writer, kit.response(kit.ANSWER, "200 OK", *lines))
    )
    served = await kit.gateway()
    served.add(engine)
    body = b'{ "unknown": [1, 2.50, null],\n"model":"m", "messages":[] , "n\\u00e9":"\xc3\xa9"}'
    reply = await post(
        served.url, body, traceparent="00-1", authorization="Bearer mine", **{"x-request-id": "r7"}
    )
    assert reply.status_code == 200
    assert reply.content == kit.ANSWER
    assert reply.headers["x-mine"] == "yes"
    assert reply.headers["x-sage-instance"] == "a"
    assert float(reply.headers["x-sage-queue-ms"]) >= 0
    assert reply.headers["x-request-id"] == "r7"
    received = engine.requests[0]
    assert received.line == "POST /v1/chat/completions HTTP/1.1"
    assert received.body == body
    assert received.headers["traceparent"] == "00-1"
    assert received.headers["authorization"] == "Bearer mine"
    assert received.headers["x-request-id"] == "r7"
    assert received.headers["host"] == engine.url.removeprefix("http://")


async def _write(writer: Any, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_instance_key_replaces_the_clients(kit: Any) -> None:
    """A client's Authorization never reaches an instance that has a key of its own."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine, api_key="sk-instance")
    await post(served.url, CHAT, authorization="Bearer client-secret")
    assert engine.requests[0].headers["authorization"] == "Bearer sk-instance"
    assert "client-secret" not in engine.requests[0].head


async def test_request_id_is_made_when_missing_or_unfit(kit: Any) -> None:
    """Without a usable X-Request-ID the gateway makes one and tells both sides."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    first = await post(served.url, CHAT)
    second = await post(served.url, CHAT, **{"x-request-id": "two words"})
    ids = [first.headers["x-request-id"], second.headers["x-request-id"]]
    assert len(set(ids)) == 2
    assert all(value.startswith("req-") for value in ids)
    assert [r.headers["x-request-id"] for r in engine.requests] == ids


async def test_routes_by_model_and_kind(kit: Any) -> None:
    """Each request goes to an instance of its model, embeddings to embedding instances."""
    first, second, vectors = await kit.engine(), await kit.engine(), await kit.engine()
    served = await kit.gateway()
    served.add(first, "a", models=("m", "m-alias"))
    served.add(second, "b", models=("n",))
    served.add(vectors, "e", kind=Kind.EMBEDDING, models=("v",))
    for body, path, name in (
        ({**CHAT, "model": "m-alias"}, "/v1/chat/completions", "a"),
        ({"model": "n", "prompt": "x"}, "/v1/completions?api-version=1", "b"),
        ({"model": "v", "input": "x"}, "/v1/embeddings", "e"),
        ({"input": "x"}, "/v1/embeddings", "e"),
    ):
        reply = await post(served.url, body, path)
        assert reply.headers["x-sage-instance"] == name
    assert second.requests[0].line == "POST /v1/completions?api-version=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "body", "expected", "said"),
    [
        ("/v1/chat/completions", b"{", (400, "invalid_json"), "truncated"),
        ("/v1/chat/completions", b"\xff\xfe", (400, "invalid_json"), "byte 0"),
        ("/v1/chat/completions", b"[]", (400, "invalid_body"), "array"),
        ("/v1/chat/completions", b'{"model": 5}', (400, "invalid_body"), "$.model"),
        (
            "/v1/chat/completions",
            b'{"model":"m","stream":"yes"}',
            (400, "invalid_body"),
            "$.stream",
        ),
        ("/v1/chat/completions", b'{"messages":[]}', (400, "model_required"), "'m', 'n'"),
        ("/v1/chat/completions", b'{"model":"gpt-9"}', (404, "model_not_found"), "'m', 'n'"),
        ("/v1/chat/completions", b'{"model":"v"}', (404, "model_not_found"), "kind 'embedding'"),
        ("/v1/embeddings", b'{"model":"m"}', (404, "model_not_found"), "'v'"),
        ("/v1/nothing", b"{}", (404, "route_not_found"), "POST /v1/chat/completions"),
        ("/v1/models", b"{}", (405, "method_not_allowed"), "GET"),
    ],
)
async def test_wrong_requests_are_answered_in_openai_shape(
    kit: Any, path: str, body: bytes, expected: tuple[int, str], said: str
) -> None:
    """What is wrong with a request is said in OpenAI's error document, and reaches no engine."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine, "a", models=("m", "n"))
    served.add(engine, "e", kind=Kind.EMBEDDING, models=("v",))
    reply = await post(served.url, body, path)
    error = reply.json()["error"]
    status, code = expected
    assert (reply.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]
    if status == 405:
        assert reply.headers["allow"] == "GET, HEAD"
    if code == "model_not_found":
        assert error["param"] == "model"
    assert engine.requests == []


async def test_body_over_the_limit_is_refused(kit: Any) -> None:
    """413, whether the length is declared or found out, and no engine sees the request."""
    engine = await kit.engine()
    served = await kit.gateway(max_body_bytes=1000)
    served.add(engine)

    async def parts() -> Any:
        for _ in range(4):
            yield b"x" * 500

    async with httpx2.AsyncClient(timeout=10) as client:
        for content in (b"x" * 1001, parts()):
            reply = await client.post(served.url + "/v1/chat/completions", content=content)
            assert reply.status_code == 413
            assert reply.json()["error"]["code"] == "request_too_large"
    assert engine.requests == []
    assert served.requests["rejected"] == 2


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Oops"])
async def test_engine_errors_pass_as_they_came(kit: Any, status: str) -> None:
    """An engine's own error keeps its status and body; only a 5xx counts as failed."""
    body = b'{"error":{"message":"from the engine"}}'
    engine = await kit.engine(lambda r, w: _write(w, kit.response(body, status)))
    served = await kit.gateway()
    served.add(engine)
    reply = await post(served.url, CHAT)
    assert reply.status_code == int(status[:3])
    assert reply.content == body
    failed = status.startswith("5")
    assert (served.instance("a")["failed"], served.instance("a")["done"]) == (failed, not failed)


async def test_models_and_health(kit: Any) -> None:
    """/v1/models lists each model with its kind; /health tells ok, degraded and unavailable."""
    engine = await kit.engine()
    served = await kit.gateway()
    async with httpx2.AsyncClient(base_url=served.url, timeout=10) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
        served.add(engine, "a", models=("org/m",))
        served.add(engine, "e", kind=Kind.EMBEDDING, models=("v",))
        models = (await client.get("/v1/models")).json()
        assert models["object"] == "list"
        assert [(m["id"], m["object"], m["kind"]) for m in models["data"]] == [
            ("org/m", "model", "llm"),
            ("v", "model", "embedding"),
        ]
        assert (await client.get("/v1/models/org/m")).json()["id"] == "org/m"
        assert (await client.get("/v1/models/x")).status_code == 404
        assert (await client.head("/health")).status_code == 200
        assert (await client.get("/health")).json()["status"] == "ok"
        served.gateway.set_down("e", "probe failed")
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["instances"][1]["reason"] == "probe failed"


async def test_model_with_no_instance_up_is_503(kit: Any) -> None:
    """When all instances of a model are down, 503 says why and when to come back."""
    engine = await kit.engine()
    served = await kit.gateway()
    served.add(engine)
    served.gateway.set_down("a", "out of memory")
    reply = await post(served.url, CHAT)
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "out of memory" in reply.json()["error"]["message"]
    served.gateway.set_up("a")
    assert (await post(served.url, CHAT)).status_code == 200


async def test_add_and_remove_instances() -> None:
    """A taken id, an unknown id and unusable URLs, ids and keys are refused by name."""
    gateway = Gateway()
    spec = InstanceSpec("a", Kind.LLM, ("m",))
    gateway.add_instance(spec, "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="'a' already"):
        gateway.add_instance(spec, "http://127.0.0.1:2")
    with pytest.raises(InferenceError, match="no instance 'b'; there are: a"):
        gateway.set_down("b", "x")
    with pytest.raises(ConfigError, match="ends in /v1"):
        gateway.add_instance(InstanceSpec("b", Kind.LLM, ("m",)), "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="printable ASCII"):
        gateway.add_instance(InstanceSpec("b c", Kind.LLM, ("m",)), "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="API key") as caught:
        gateway.add_instance(InstanceSpec("b", Kind.LLM, ("m",)), "http://h:1", "secret\r\nx: y")
    assert "secret" not in str(caught.value)
    await gateway.remove_instance("a")
    assert gateway.snapshot()["instances"] == []
    gateway.add_instance(spec, "http://127.0.0.1:2")


def test_limits_are_checked() -> None:
    """A limit that is not above zero, or one given twice, is a configuration error."""
    with pytest.raises(ConfigError, match="request_timeout is 0"):
        Gateway(request_timeout=0)
    with pytest.raises(ConfigError, match="twice"):
        Gateway(request_timeout=1, limits=GatewayLimits())
