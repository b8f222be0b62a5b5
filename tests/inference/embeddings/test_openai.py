"""The OpenAI embedder, against the real server and against ones that misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from sage.errors import (
    BadRequestError,
    ConfigError,
    InferenceError,
    RejectedError,
    RequestTimeoutError,
    UpstreamError,
)
from sage.inference.embeddings.hashing import HashEmbedder
from sage.inference.embeddings.openai import OpenAIEmbedder
from tests.inference.embeddings.conftest import Serve


class Scripted(BaseHTTPRequestHandler):
    """Answers every POST as its server was told."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        server: Any = self.server
        server.hold.wait(20)
        body = server.body if isinstance(server.body, bytes) else json.dumps(server.body).encode()
        self.send_response(server.status)
        for key, value in server.headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Tests read answers, not logs."""


@pytest.fixture
def scripted() -> Iterator[Any]:
    """A server whose next answers a test sets: body, status, headers, hold."""
    server: Any = HTTPServer(("127.0.0.1", 0), Scripted)
    server.body, server.status, server.headers = {}, 200, {}
    server.hold = threading.Event()
    server.hold.set()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def remote(scripted: Any) -> Iterator[OpenAIEmbedder]:
    """An embedder of the scripted server."""
    embedder = OpenAIEmbedder("m", base_url=scripted.url, timeout=0.5)
    yield embedder
    embedder.close()


def row(index: int, embedding: object) -> dict[str, object]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def test_it_gives_the_vectors_of_the_server_in_order(serve: Serve) -> None:
    """More texts than fit one request are sent in several; tokens are the server's count."""
    local = HashEmbedder(dim=32)
    server = serve(HashEmbedder(dim=32))
    embedder = OpenAIEmbedder("m", base_url=server.url, max_texts=7)
    texts = [f"number {index}" for index in range(20)]
    np.testing.assert_allclose(embedder.embed(texts), local.embed(texts), atol=1e-6)
    assert (embedder.usage.texts, embedder.usage.tokens) == (20, 40)
    assert embedder.dim == 32
    assert embedder.embed([]).shape == (0, 32)
    embedder.close()


def test_the_dimension_is_asked_for_when_needed(serve: Serve) -> None:
    """Nothing was embedded yet, so it embeds a word to see."""
    embedder = OpenAIEmbedder("m", base_url=serve(HashEmbedder(dim=8)).url)
    assert embedder.dim == 8
    embedder.close()


def test_vectors_may_come_as_numbers_and_in_any_order(
    scripted: Any, remote: OpenAIEmbedder
) -> None:
    """Some servers know no base64; the index decides. Vectors are normalised."""
    scripted.body = {"data": [row(1, [0, 2]), row(0, [3, 4])]}
    np.testing.assert_allclose(remote.embed(["a", "b"]), [[0.6, 0.8], [0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {"data": [row(0, [1.0])]},
        {"data": [row(0, [1.0]), row(0, [1.0])]},
        {"data": [row(0, [1.0]), row(1, [1.0, 2.0])]},
        {"data": [row(0, "****"), row(1, "****")]},
        {"data": [row(0, "AAA="), row(1, "AAA=")]},
        {"error": "no"},
    ],
)
def test_an_answer_that_is_not_what_was_promised_is_an_upstream_error(
    scripted: Any, remote: OpenAIEmbedder, body: object
) -> None:
    """Too few, misnumbered, of several lengths, broken, or no vectors at all."""
    scripted.body = body
    with pytest.raises(UpstreamError):
        remote.embed(["a", "b"])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequestError), (404, BadRequestError), (429, RejectedError), (500, UpstreamError)],
)
def test_statuses_become_sages_errors(
    scripted: Any, remote: OpenAIEmbedder, status: int, kind: type[Exception]
) -> None:
    """Each by its meaning, with what the server said."""
    scripted.status, scripted.body = status, {"error": {"message": "because"}}
    scripted.headers = {"Retry-After": "7"}
    with pytest.raises(kind, match="because") as caught:
        remote.embed(["a"])
    if isinstance(caught.value, RejectedError):
        assert caught.value.retry_after == 7


def test_a_server_that_does_not_answer_is_a_timeout(scripted: Any, remote: OpenAIEmbedder) -> None:
    """After the seconds given, not for ever."""
    scripted.hold.clear()
    with pytest.raises(RequestTimeoutError):
        remote.embed(["a"])


def test_nothing_there_says_where(free_port: int) -> None:
    """The message names the URL."""
    embedder = OpenAIEmbedder("m", base_url=f"http://127.0.0.1:{free_port}/v1")
    with pytest.raises(InferenceError, match=str(free_port)):
        embedder.embed(["a"])
    embedder.close()


def test_a_text_without_utf8_is_a_bad_request(remote: OpenAIEmbedder) -> None:
    """It is refused here, before anything is sent."""
    with pytest.raises(BadRequestError):
        remote.embed(["\ud800"])


@pytest.mark.parametrize("options", [{"base_url": "localhost:8090"}, {"max_texts": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """A URL without scheme, or a number below its least."""
    with pytest.raises(ConfigError):
        OpenAIEmbedder("m", **{"base_url": "http://localhost:1/v1", **options})
