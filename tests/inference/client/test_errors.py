"""Every HTTP failure becomes one of SAGE's errors, whose message says what to do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sage.errors import (
    BadRequestError,
    InferenceError,
    RejectedError,
    RequestTimeoutError,
    UpstreamError,
)
from sage.inference.client import UnifiedInferenceClient
from sage.inference.client.errors import retry_after, server_message


@pytest.fixture
def client(fake: Any) -> Iterator[UnifiedInferenceClient]:
    """A client that does not retry."""
    with UnifiedInferenceClient.create(fake.url, default_llm_model="m", retries=0) as made:
        yield made


def says(fake: Any, body: Any, status: int = 200, **headers: str) -> None:
    """Make the server give this answer to everything."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = SimpleNamespace(body=body, status=status, headers=headers, chunks=None, cut=False)
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models"):
        fake.routes[path] = lambda _: answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, BadRequestError),
        (404, BadRequestError),
        (422, BadRequestError),
        (429, RejectedError),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, RejectedError),
        (504, UpstreamError),
        (307, UpstreamError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_status_becomes_an_error(
    client: UnifiedInferenceClient, fake: Any, status: int, kind: type[Exception], stream: bool
) -> None:
    """Each status has its error, streamed or not, with the server's words, the URL and the code."""
    says(fake, {"error": {"message": "too long"}}, status)
    with pytest.raises(kind, match="too long") as caught:
        client.chat("a", stream=stream, return_result=True)
    assert type(caught.value) is kind
    assert f"{fake.url}/chat/completions: HTTP {status}" in str(caught.value)
    assert getattr(caught.value, "status", status) == status


def test_a_rejection_carries_retry_after(client: UnifiedInferenceClient, fake: Any) -> None:
    """The seconds that the server names are on the error."""
    says(fake, {"error": "queue full"}, 429, **{"retry-after": "1.5"})
    with pytest.raises(RejectedError, match="queue full") as caught:
        client.chat("a")
    assert caught.value.retry_after == 1.5


def test_a_refused_key_hints_at_the_key(client: UnifiedInferenceClient, fake: Any) -> None:
    """401 says to check the API key."""
    says(fake, {"detail": "no"}, 401)
    with pytest.raises(BadRequestError, match="check the API key"):
        client.chat("a")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"",
        b"[]",
        b"{}",
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 3}}]},
        {"error": {"message": "in a good status"}},
    ],
)
def test_an_answer_that_is_none_is_an_upstream_error(
    client: UnifiedInferenceClient, fake: Any, body: Any
) -> None:
    """Status 200 with something else than a chat is not taken for one."""
    says(fake, body)
    with pytest.raises(UpstreamError):
        client.chat("a")
    with pytest.raises(UpstreamError):
        client.generate("a")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": "###"}, {"index": 1, "embedding": "AAAA"}],
        [{"index": 0, "embedding": None}, {"index": 1, "embedding": None}],
        [3, 4],
    ],
)
def test_vectors_that_do_not_fit_the_texts_are_an_error(
    client: UnifiedInferenceClient, fake: Any, data: Any
) -> None:
    """Too few, twice the same, of different lengths, not numbers: never silently wrong vectors."""
    says(fake, {"data": data})
    with pytest.raises(UpstreamError, match="embed"):
        client.embed(["a", "b"], model="m")


def test_a_server_without_a_model_list_asks_for_a_name(
    client: UnifiedInferenceClient, fake: Any
) -> None:
    """Where the default model cannot be asked, the error says how to name it."""
    says(fake, b"not found", 404)
    with pytest.raises(BadRequestError, match="default_embedding_model="):
        client.embed("a")


def test_a_silent_server_times_out() -> None:
    """No byte within the timeout is a RequestTimeoutError that names it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            UnifiedInferenceClient.create(url, default_llm_model="m", timeout=0.1) as client,
            pytest.raises(RequestTimeoutError, match=r"no answer within 0\.1 s"),
        ):
            client.chat("a")


def test_a_trickling_answer_times_out_as_a_whole(fake: Any) -> None:
    """A server that sends a byte now and then cannot hold a call beyond its timeout."""
    over = threading.Event()

    def trickle() -> Iterator[bytes]:
        while not over.wait(0.02):
            yield b" "

    answer = SimpleNamespace(status=200, headers={}, chunks=trickle(), cut=False)
    fake.routes["/v1/chat/completions"] = lambda _: answer
    with (
        UnifiedInferenceClient.create(fake.url, default_llm_model="m", timeout=0.2) as client,
        pytest.raises(RequestTimeoutError, match="not whole"),
    ):
        client.chat("a")
    over.set()


def test_a_broken_answer_is_cut_off(client: UnifiedInferenceClient, fake: Any) -> None:
    """A connection that breaks inside the answer is an UpstreamError."""
    answer = SimpleNamespace(status=200, headers={}, chunks=[b'{"choi'], cut=True)
    fake.routes["/v1/chat/completions"] = lambda _: answer
    with pytest.raises(UpstreamError, match="cut off"):
        client.chat("a")


def test_a_refused_connection_names_the_url(free_port: int) -> None:
    """Nobody there: the URL, why, and what to start."""
    with (
        UnifiedInferenceClient.create(f"http://127.0.0.1:{free_port}", retries=0) as client,
        pytest.raises(InferenceError, match=rf"127\.0\.0\.1:{free_port}.*refused.*sage llm serve"),
    ):
        client.embed("a", model="m")


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_async_errors_are_the_same(
    client: UnifiedInferenceClient, fake: Any, status: int
) -> None:
    """The async methods raise what the sync ones do."""
    says(fake, {"error": {"message": "no"}}, status)
    with pytest.raises(InferenceError) as sync_error:
        client.chat("a")
    for options in ({}, {"stream": True}):
        with pytest.raises(InferenceError) as async_error:
            await client.achat("a", **options)  # type: ignore[call-overload]
        assert type(async_error.value) is type(sync_error.value)
        assert str(async_error.value) == str(sync_error.value)
    await client.aclose()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 24 Nov 2026 10:00:10 GMT"}, None),
        (
            {
                "retry-after": "Tue, 24 Nov 2026 10:00:10 GMT",
                "date": "Tue, 24 Nov 2026 10:00:00 GMT",
            },
            10.0,
        ),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date (against the answer's own clock); anything else is unknown."""
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "m", "code": 1}}', "m"),
        (b'{"error": "m"}', "m"),
        (b'{"message": "m"}', "m"),
        (b'{"detail": "m"}', "m"),
        (b'{"detail": [{"loc": 1}]}', "[{'loc': 1}]"),
        (b" plain \n", "plain"),
        (b"", "'no message'"),
        (b"\xff", "\ufffd"),
    ],
)
def test_the_servers_words_are_found(body: bytes, message: str) -> None:
    """OpenAI's, FastAPI's and plain errors all give their message."""
    assert server_message(body) == message
    assert len(server_message(body * 10000)) <= 500
