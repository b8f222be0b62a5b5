"""The embedding server: OpenAI's routes, errors, coalescing, and its life as a process."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest

from sage.inference.embeddings.hashing import HashEmbedder
from sage.inference.embeddings.onnx import OnnxEmbedder
from sage.inference.embeddings.server import EmbeddingServer, ServerOptions
from tests.inference.embeddings.conftest import (
    GatedEmbedder,
    Serve,
    Server,
    answers,
    eventually,
    start_process,
)


@pytest.fixture
def server(serve: Serve) -> Server:
    """A server of hashed words, which needs no model."""
    return serve(HashEmbedder(dim=16))


def message(response: httpx2.Response) -> str:
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize(
    "given", ["one two", ["one two"], HashEmbedder().prepare(["one two"])[0].ids.tolist()]
)
def test_every_shape_of_input_gives_the_same_vector(server: Server, given: object) -> None:
    """A text, a list of one, its token ids."""
    answer = server.embed(given).json()
    expected = HashEmbedder(dim=16).embed(["one two"])[0]
    np.testing.assert_allclose(answer["data"][0]["embedding"], expected, atol=1e-6)
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2, "truncated": 0}
    assert answer["model"] == "m"


def test_openais_own_client_works(server: Server) -> None:
    """It asks for base64, and decodes it."""
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    texts = [f"text {index}" for index in range(300)]
    answer = client.embeddings.create(model="m", input=texts, user="someone")
    vectors = [row.embedding for row in answer.data]
    np.testing.assert_allclose(vectors, HashEmbedder(dim=16).embed(texts), atol=1e-6)
    assert answer.usage.total_tokens == 600
    assert [model.id for model in client.models.list()] == ["m"]
    client.close()


def test_an_unknown_model_is_404_and_names_the_one_there_is(server: Server) -> None:
    """In OpenAI's shape, with its code."""
    response = server.client.post("/v1/embeddings", json={"model": "other", "input": "x"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "'other'" in message(response)
    assert "'m'" in message(response)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input": []}, "empty"),
        ({"input": [1, "x"]}, "mix"),
        ({"input": [2**40]}, "vocabulary"),
        ({"input": "x", "dimensions": 8}, "dimensions=8"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "dimensons": 16}, "did you mean 'dimensions'"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    server: Server, fields: dict[str, object], expected: str
) -> None:
    """400 with the reason, and the counts agree."""
    response = server.client.post("/v1/embeddings", json={"model": "m", **fields})
    assert response.status_code == 400
    assert expected in message(response)
    assert server.metric('sage_embedding_requests_total{state="refused"}') == 1


def test_a_body_that_is_not_json_is_400(server: Server) -> None:
    """It names JSON."""
    response = server.client.post("/v1/embeddings", content=b"{nope")
    assert response.status_code == 400
    assert "JSON" in message(response)


def test_the_models_own_dimension_may_be_asked_for(server: Server) -> None:
    """It is what it gives anyway."""
    assert server.embed("x", dimensions=16).status_code == 200


def test_a_body_over_the_limit_is_413(server: Server) -> None:
    """Whether or not its length is announced; the server goes on."""
    big = b" " * (32 * 2**20 + 1)
    for content in (big, iter([big[: 2**24], big[2**24 :]])):
        try:
            response = server.client.post("/v1/embeddings", content=content)
        except httpx2.TransportError:
            continue  # the server may close before all of the body is sent
        assert response.status_code == 413
    assert server.embed("x").status_code == 200


def test_unknown_routes_and_methods_are_told(server: Server) -> None:
    """404 lists the routes, 405 names the method."""
    response = server.client.get("/v1/nothing")
    assert response.status_code == 404
    assert "/v1/embeddings" in message(response)
    assert server.client.get("/v1/embeddings").status_code == 405


def test_concurrent_requests_are_coalesced_and_counted(serve: Serve) -> None:
    """64 at once while the engine is busy become one call, and the metrics show it."""
    embedder = GatedEmbedder()
    server = serve(embedder)
    texts = [f"text {index}" for index in range(64)]
    with concurrent.futures.ThreadPoolExecutor(65) as pool:
        first = pool.submit(server.embed, "first text")
        assert embedder.started.wait(20)
        rest = [pool.submit(server.embed, text) for text in texts]
        eventually(lambda: server.metric("sage_embedding_queue_texts") == 64)
        embedder.gate.set()
        vectors = [one.result().json()["data"][0]["embedding"] for one in rest]
        assert first.result().status_code == 200
    np.testing.assert_allclose(vectors, HashEmbedder(dim=16).embed(texts), atol=1e-6)
    assert embedder.batches == [1, 64]
    assert server.metric("sage_embedding_coalesced_batches_total") == 1
    assert server.metric("sage_embedding_texts_total") == 65
    assert server.metric('sage_embedding_requests_total{state="done"}') == 65


def test_a_full_queue_is_429_with_retry_after(serve: Serve) -> None:
    """A client is told when to come back."""
    embedder = GatedEmbedder()
    server = serve(embedder, max_queue_tokens=4)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.embed, "first")
        assert embedder.started.wait(20)
        waiting = pool.submit(server.embed, "one two three four")
        eventually(lambda: server.metric("sage_embedding_queue_tokens") == 4)
        response = server.embed("five")
        embedder.gate.set()
        assert {first.result().status_code, waiting.result().status_code} == {200}
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["type"] == "rate_limit_error"
    too_large = server.embed("one two three four five")
    assert too_large.status_code == 413
    assert server.embed("again").status_code == 200


def test_a_client_that_leaves_frees_its_place(serve: Serve) -> None:
    """Its waiting texts are dropped and counted as cancelled."""
    embedder = GatedEmbedder()
    server = serve(embedder)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.embed, "first")
        assert embedder.started.wait(20)
        with pytest.raises(httpx2.TimeoutException), httpx2.Client(timeout=0.2) as hasty:
            hasty.post(f"{server.url}/v1/embeddings", json={"model": "m", "input": ["x"] * 9})
        eventually(lambda: server.metric('sage_embedding_requests_total{state="cancelled"}') == 1)
        assert server.metric("sage_embedding_queue_texts") == 0
        embedder.gate.set()
        assert first.result().status_code == 200
    assert embedder.batches == [1]


def test_an_engine_failure_is_500_for_its_request_only(serve: Serve) -> None:
    """The server goes on."""
    embedder = GatedEmbedder()
    embedder.gate.set()
    server = serve(embedder)
    response = server.embed("poison")
    assert response.status_code == 500
    assert "poisoned" in message(response)
    assert server.embed("fine").status_code == 200
    assert server.metric('sage_embedding_requests_total{state="failed"}') == 1


def test_while_loading_it_answers_503(free_port: int) -> None:
    """The port answers at once, so a supervisor can tell loading from dead."""
    gate = threading.Event()

    def load(_: ServerOptions) -> HashEmbedder:
        assert gate.wait(20)
        return HashEmbedder()

    options = ServerOptions("-", "m", "onnx", "127.0.0.1", free_port)
    server = EmbeddingServer(options, load=load)
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{free_port}"
    with httpx2.Client(base_url=url, timeout=20) as client:

        def listening() -> bool:
            try:
                return client.get("/health").status_code == 503
            except httpx2.TransportError:
                return False

        eventually(listening)
        early = client.post("/v1/embeddings", json={"model": "m", "input": "x"})
        assert early.status_code == 503
        assert "loading" in message(early)
        assert early.headers["retry-after"] == "1"
        gate.set()
        eventually(lambda: client.get("/health").status_code == 200)
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def process_url(free_port: int) -> Iterator[str]:
    """The URL of a server process, which is stopped by SIGTERM and must end well."""
    process = start_process(free_port, "--host", "localhost")
    url = f"http://127.0.0.1:{free_port}"
    try:
        eventually(lambda: answers(url) or process.poll() is not None)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.engines
def test_the_real_process_gives_the_vectors_of_the_library(
    process_url: str, minilm: OnnxEmbedder
) -> None:
    """64 concurrent single texts through HTTP equal embed(texts), within 1e-5, in fewer calls."""
    texts = [f"{'many words ' * (index % 20)}{index}" for index in range(64)]
    expected = minilm.embed(texts)
    with httpx2.Client(base_url=process_url, timeout=30) as client:
        server = Server(process_url, client)
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            found = list(pool.map(server.embed, texts))
        vectors = [one.json()["data"][0]["embedding"] for one in found]
        np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=0)
        assert server.metric("sage_embedding_batches_total") < 64
        assert server.metric("sage_embedding_coalesced_batches_total") >= 1
        assert server.metric("sage_embedding_texts_total") == 64
        cut = server.embed(["word " * 300, "word"]).json()["usage"]
        assert cut == {"prompt_tokens": 259, "total_tokens": 259, "truncated": 1}


@pytest.mark.engines
def test_sigterm_answers_what_was_accepted(free_port: int) -> None:
    """A request under way is finished before the process ends with 0."""
    process = start_process(free_port)
    url = f"http://127.0.0.1:{free_port}"
    try:
        eventually(lambda: answers(url))
        with httpx2.Client(base_url=url, timeout=30) as client:
            server = Server(url, client)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                bulk = pool.submit(server.embed, ["some words to embed " * 20] * 40)
                eventually(lambda: server.metric("sage_embedding_running_batches") > 0)
                process.send_signal(signal.SIGTERM)
                assert len(bulk.result().json()["data"]) == 40
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.engines
def test_a_model_that_cannot_be_loaded_ends_the_process_with_its_reason(
    free_port: int, tmp_path: Path
) -> None:
    """One line for people, ModelError's exit code."""
    process = start_process(free_port, model=tmp_path)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "no model.onnx" in errors
    assert "Traceback" not in errors


def test_an_answer_is_json_of_the_length_it_says(server: Server) -> None:
    """Large answers are written in pieces and sent whole."""
    response = server.embed([f"t{index}" for index in range(1000)])
    assert len(response.content) == int(response.headers["content-length"])
    assert [row["index"] for row in json.loads(response.content)["data"]] == list(range(1000))
