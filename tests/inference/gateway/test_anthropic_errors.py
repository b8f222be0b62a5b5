"""Errors on Anthropic's routes have Anthropic's shape."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

from sage.inference.gateway.errors import ApiError

pytestmark = pytest.mark.anyio

ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}


def client(served: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=served.url, api_key="k", max_retries=0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_the_type_follows_the_status(status: int, kind: str) -> None:
    """As Anthropic's documentation pairs them."""
    error = ApiError(status, "so it is", type="server_error", code="c")
    shown = {"type": "error", "error": {"type": kind, "message": "so it is"}}
    assert error.body("/v1/messages") == shown
    assert error.body("/v1/messages/count_tokens") == shown
    assert error.body("/v1/chat/completions")["error"]["code"] == "c"


async def test_no_instance_and_wrong_method(kit: Any) -> None:
    """Both come from the gateway itself."""
    served = await kit.gateway()
    async with client(served) as asking:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await asking.messages.create(**ASK)
        assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as plain:
        wrong = await plain.get(served.url + "/v1/messages")
        assert (wrong.status_code, wrong.json()["type"]) == (405, "error")


async def test_the_client_gets_the_engines_answer_as_it_is(kit: Any) -> None:
    """Headers of the client's reach the engine, and so does the count_tokens route."""

    async def counting(request: Any, writer: Any) -> None:
        writer.write(kit.response(b'{"input_tokens": 7}'))
        await writer.drain()

    engine = await kit.engine(counting)
    served = await kit.gateway()
    served.add(engine)
    async with client(served) as asking:
        count = await asking.messages.count_tokens(model="m", messages=ASK["messages"])
    assert count.input_tokens == 7
    (request,) = engine.requests
    assert request.line.startswith("POST /v1/messages/count_tokens ")
    # Which of the two it is depends on the client's version.
    key = request.headers.get("x-api-key") or request.headers["authorization"]
    assert key.removeprefix("Bearer ") == "k"
    assert request.headers["anthropic-version"]


async def test_a_broken_stream_ends_with_an_error_event(kit: Any) -> None:
    """Named so, in Anthropic's shape; the client raises it."""
    start = {
        "type": "message_start",
        "message": {
            "id": "1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 0},
        },
    }

    async def broken(request: Any, writer: Any) -> None:
        event = b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n"
        writer.write(kit.STREAM_HEAD + kit.chunk(event))
        await writer.drain()
        writer.close()

    served = await kit.gateway()
    served.add(await kit.engine(broken))
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as plain:
        text = (await plain.post(served.url + "/v1/messages", json={**ASK, "stream": True})).text
    name, data = text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["type"] == "api_error"
    async with client(served) as asking:
        stream = await asking.messages.create(**ASK, stream=True)
        assert (await anext(stream)).type == "message_start"
        with pytest.raises(anthropic.APIError, match="closed the connection"):
            await anext(stream)
