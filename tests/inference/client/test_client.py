"""What users of the client see, against a real HTTP server."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sage.errors import (
    BadRequestError,
    ConfigError,
    InferenceError,
    NoBackendError,
    UnknownKeyError,
    UpstreamError,
)
from sage.inference.client import InferenceResult, UnifiedInferenceClient

Serve = Callable[[], Any]


@pytest.fixture
def client(fake: Any) -> Any:
    """A client of the fake server."""
    with UnifiedInferenceClient.create(control_plane_url=fake.url) as made:
        yield made


def test_chat_returns_the_text(client: UnifiedInferenceClient, fake: Any) -> None:
    """Messages may be a list of dicts or one string; the answer's text comes back."""
    assert client.chat([{"role": "user", "content": "hi"}]) == "echo: hi"
    assert client.chat("you") == "echo: you"
    assert fake.posted("/v1/chat/completions")[1]["messages"] == [
        {"role": "user", "content": "you"}
    ]


def test_values_are_sent_as_given_and_no_others(client: UnifiedInferenceClient, fake: Any) -> None:
    """temperature=0.0 stays 0.0, and what was not given is not in the request at all."""
    client.chat("a", max_tokens=5, temperature=0.0, seed=0, stop=None)
    client.chat("a")
    client.generate("a")
    message = [{"role": "user", "content": "a"}]
    assert fake.posted("/v1/chat/completions") == [
        {"model": "small-llm", "messages": message, "max_tokens": 5, "temperature": 0.0, "seed": 0},
        {"model": "small-llm", "messages": message},
    ]
    assert fake.posted("/v1/completions") == [{"model": "small-llm", "prompt": "a"}]


def test_generate_continues_a_prompt(client: UnifiedInferenceClient) -> None:
    """generate goes to the completions route and gives its text."""
    assert client.generate("once", max_tokens=256) == "once…"


def test_openai_parameters_pass_through(client: UnifiedInferenceClient, fake: Any) -> None:
    """OpenAI's parameters go on whole, engine-specific ones through extra_body."""
    schema = {"type": "json_object"}
    client.chat("a", response_format=schema, logprobs=True, extra_body={"top_k": 40})
    sent = fake.posted("/v1/chat/completions")[0]
    assert sent["response_format"] == schema
    assert sent["logprobs"] is True
    assert sent["top_k"] == 40


def test_a_misspelled_parameter_names_the_nearest(client: UnifiedInferenceClient) -> None:
    """max_token is an error that says max_tokens, and points to extra_body."""
    with pytest.raises(UnknownKeyError, match=r"'max_token'; did you mean 'max_tokens'"):
        client.chat("a", max_token=3)  # type: ignore[call-overload]
    with pytest.raises(UnknownKeyError, match="extra_body"):
        client.generate("a", top_k=3)  # type: ignore[call-overload]
    with pytest.raises(UnknownKeyError, match="'dimensions'"):
        client.embed("a", dimension=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("extra", [{"max_tokens": 3}, {"stream": True}, {"messages": []}])
def test_extra_body_repeats_nothing(client: UnifiedInferenceClient, extra: Any) -> None:
    """A key with an argument of its own is refused in extra_body: one would win in silence."""
    with pytest.raises(ConfigError, match="has its own argument"):
        client.chat("a", max_tokens=1, extra_body=extra)


@pytest.mark.parametrize(
    ("messages", "said"),
    [([], "empty"), (["hi"], "message 0"), ([{"content": "x"}], "message 0"), ([{}], "message 0")],
)
def test_wrong_messages_are_refused(
    client: UnifiedInferenceClient, fake: Any, messages: Any, said: str
) -> None:
    """Messages that no server understands are refused before anything is sent."""
    with pytest.raises(BadRequestError, match=said):
        client.chat(messages)
    assert fake.seen == []


def test_unsendable_values_are_refused(client: UnifiedInferenceClient) -> None:
    """A value that JSON cannot hold, or text that is not Unicode, is a BadRequestError."""
    with pytest.raises(BadRequestError, match="JSON"):
        client.chat("a", metadata={"x": object()})  # type: ignore[dict-item]
    with pytest.raises(BadRequestError, match="JSON"):
        client.generate("\udcff")
    with pytest.raises(BadRequestError, match="prompt is of type list"):
        client.generate(["a"])  # type: ignore[call-overload]


def test_a_result_holds_tokens_times_and_names(client: UnifiedInferenceClient) -> None:
    """return_result=True gives the text with what it took and who answered."""
    result = client.chat("hi", return_result=True)
    assert isinstance(result, InferenceResult)
    assert (result.text, result.model, result.instance) == ("echo: hi", "small-llm", "llm-1")
    assert (result.prompt_tokens, result.completion_tokens) == (3, 2)
    assert (result.finish_reason, result.request_id) == ("stop", "r-7")
    assert 0 < result.latency_s < 10
    assert result.ttft_s is None
    assert result.raw["id"] == "chat-1"


def test_answers_with_more_than_a_text_need_a_result(client: UnifiedInferenceClient) -> None:
    """n=2 or tools without return_result would lose a part of the answer, so they are refused."""
    with pytest.raises(ConfigError, match="return_result=True"):
        client.chat("a", n=2)
    with pytest.raises(ConfigError, match="return_result=True"):
        client.chat("a", tools=[{"type": "function"}])
    with pytest.raises(ConfigError, match="one stream"):
        client.chat("a", n=2, stream=True)
    assert client.chat("a", n=2, return_result=True).text == "echo: a"


def test_embed_gives_one_vector_a_text(client: UnifiedInferenceClient, fake: Any) -> None:
    """A string gives one vector, a list a list of vectors in its order, none gives none."""
    assert client.embed("abc") == [3.0, 0.0]
    assert client.embed(["a", "abcd", ""]) == [[1.0, 0.0], [4.0, 1.0], [0.0, 2.0]]
    assert client.embed(text for text in ("a", "ab")) == [[1.0, 0.0], [2.0, 1.0]]
    before = len(fake.seen)
    assert client.embed([]) == []
    assert len(fake.seen) == before


def test_embed_asks_for_base64_and_understands_floats(
    client: UnifiedInferenceClient, fake: Any
) -> None:
    """Vectors travel as base64; a server that sends numbers all the same is understood."""
    as_base64 = client.embed("abc")
    assert client.embed("abc", encoding_format="float") == as_base64
    formats = [body["encoding_format"] for body in fake.posted("/v1/embeddings")]
    assert formats == ["base64", "float"]


def test_embed_refuses_what_is_no_text(client: UnifiedInferenceClient) -> None:
    """A text of another type is named by its place."""
    with pytest.raises(BadRequestError, match="text 1 is of type int"):
        client.embed(["a", 2])  # type: ignore[list-item]


def test_many_texts_are_split_and_put_back_in_order(fake: Any) -> None:
    """1,000 texts go as requests of 64, at most 4 at once, and come back in their order."""
    at_once, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(4, timeout=10)
    answer = fake.routes["/v1/embeddings"]

    def counted(seen: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        if len(seen.json["input"]) == 64 and seen.json["input"][0] in early:
            both.wait()  # the first four are in flight together
        with lock:
            at_once -= 1
        return answer(seen)

    texts = ["x" * n for n in range(1000)]
    early = {texts[0], texts[64], texts[128], texts[192]}
    fake.routes["/v1/embeddings"] = counted
    with UnifiedInferenceClient.create(fake.url, embedding_concurrency=4) as client:
        result = client.embed(texts, return_result=True)
    assert result.vectors is not None
    assert [vector[0] for vector in result.vectors] == [float(n) for n in range(1000)]
    assert result.prompt_tokens == 1000
    assert [len(body["input"]) for body in fake.posted("/v1/embeddings")].count(64) == 15
    assert most == 4


def test_one_failed_part_fails_the_call(fake: Any, serve: Serve) -> None:
    """A split call never gives a part of its vectors."""
    answer = fake.routes["/v1/embeddings"]
    broken = type(answer(_seen(["x"])))({"error": {"message": "boom"}}, 500)
    fake.routes["/v1/embeddings"] = lambda seen: (
        broken if "t70" in seen.json["input"] else answer(seen)
    )
    with (
        UnifiedInferenceClient.create(fake.url) as client,
        pytest.raises(UpstreamError, match="boom"),
    ):
        client.embed([f"t{n}" for n in range(200)])


def _seen(texts: list[str]) -> Any:
    class Fake:
        json = {"input": texts, "model": "m"}  # noqa: RUF012 - a literal for one call

    return Fake


def test_the_default_model_is_asked_once(fake: Any) -> None:
    """With no model named, 16 threads at once cause one question, and get the right kind."""
    fake.models(("an-embedder", "embedding"), ("an-llm", "llm"), ("another", "llm"))
    with UnifiedInferenceClient.create(fake.url) as client, ThreadPoolExecutor(16) as threads:
        list(threads.map(client.chat, ["a"] * 32))
        client.embed("x")
    assert [seen.path for seen in fake.seen].count("/v1/models") == 2  # one for each kind
    assert {body["model"] for body in fake.posted("/v1/chat/completions")} == {"an-llm"}
    assert fake.posted("/v1/embeddings")[0]["model"] == "an-embedder"


def test_unmarked_models_count_for_every_kind(fake: Any) -> None:
    """A server that does not mark kinds is asked for its first model."""
    fake.models("only")
    with UnifiedInferenceClient.create(fake.url) as client:
        client.chat("a")
        client.embed("a")
    assert fake.posted("/v1/chat/completions")[0]["model"] == "only"
    assert fake.posted("/v1/embeddings")[0]["model"] == "only"


def test_a_server_without_that_kind_is_named(fake: Any) -> None:
    """Embedding at a server of LLMs only says what it serves."""
    fake.models(("an-llm", "llm"))
    with (
        UnifiedInferenceClient.create(fake.url) as client,
        pytest.raises(NoBackendError, match=r"serves no embedding model \(it serves an-llm\)"),
    ):
        client.embed("a")


def test_a_server_restarted_with_another_model_is_asked_again(fake: Any) -> None:
    """When the asked-for default model is gone, the client finds the new one by itself."""
    with UnifiedInferenceClient.create(fake.url) as client:
        client.chat("a")
        fake.models(("new-llm", "llm"))
        answer = fake.routes["/v1/chat/completions"]
        gone = type(answer(_chat()))({"error": {"message": "no such model"}}, 404)
        fake.routes["/v1/chat/completions"] = lambda seen: (
            answer(seen) if seen.json["model"] == "new-llm" else gone
        )
        assert client.chat("b") == "echo: b"
        with pytest.raises(BadRequestError, match="no such model"):
            client.chat("b", model="small-llm")  # one that was named is never replaced


def _chat() -> Any:
    class Fake:
        json = {"model": "m", "messages": [{"content": ""}]}  # noqa: RUF012 - for one call

    return Fake


def test_named_models_are_used(fake: Any) -> None:
    """The client's defaults are used without asking; the call's own model wins."""
    with UnifiedInferenceClient.create(
        fake.url, default_llm_model="Qwen/a", default_embedding_model="BAAI/b"
    ) as client:
        client.chat("a")
        client.chat("a", model="c")
        client.embed("a")
    assert [seen.path for seen in fake.seen].count("/v1/models") == 0
    assert [body["model"] for body in fake.posted("/v1/chat/completions")] == ["Qwen/a", "c"]
    assert fake.posted("/v1/embeddings")[0]["model"] == "BAAI/b"


def test_an_api_key_is_sent_and_never_shown(fake: Any) -> None:
    """The key travels as a bearer token, and no repr or status shows it."""
    with UnifiedInferenceClient.create(fake.url, api_key="sk-secret") as client:
        client.chat("a")
        shown = repr(client) + str(client.get_status()) + repr(client.config)
    assert {seen.headers["authorization"] for seen in fake.seen} == {"Bearer sk-secret"}
    assert "sk-secret" not in shown


def test_one_client_serves_32_threads(fake: Any) -> None:
    """32 threads share a client; each gets its own answers, over kept connections."""
    with UnifiedInferenceClient.create(fake.url) as client, ThreadPoolExecutor(32) as threads:
        texts = [f"q{n}" for n in range(640)]
        assert list(threads.map(client.chat, texts)) == [f"echo: {text}" for text in texts]
    assert fake.connections <= 40


def test_a_connection_is_kept(client: UnifiedInferenceClient, fake: Any) -> None:
    """Calls one after the other use one connection, streams included."""
    fake.streams([b"data: [DONE]\n\n"])
    for _ in range(5):
        client.generate("a", stream=True).collect()
        client.embed("a")
    assert fake.connections == 1


def test_proxy_variables_do_not_apply_to_this_machine(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a proxy in the environment, loopback is still reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for host in ("127.0.0.1", "localhost"):
        with UnifiedInferenceClient.create(f"http://{host}:{fake.port}", retries=0) as client:
            assert client.chat("a") == "echo: a"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_url_comes_with_or_without_v1(fake: Any, suffix: str) -> None:
    """control_plane_url may end in /v1, in a slash, or in neither."""
    with UnifiedInferenceClient.create(f"http://127.0.0.1:{fake.port}{suffix}") as client:
        assert client.chat("a") == "echo: a"


@pytest.mark.parametrize(
    "options",
    [
        {"control_plane_url": "localhost:8000"},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"connect_timeout": -1},
        {"retries": -1},
        {"embedding_batch_size": 0},
        {"embedding_concurrency": 0},
        {"api_key": "line\nbreak"},
    ],
)
def test_impossible_options_are_refused(options: Any) -> None:
    """A wrong option is refused when the client is made, with its value or name."""
    with pytest.raises(ConfigError):
        UnifiedInferenceClient.create(**{"control_plane_url": "http://x", **options})


def test_a_closed_client_says_so(fake: Any) -> None:
    """After close every call raises; closing twice is fine."""
    with UnifiedInferenceClient.create(fake.url) as client:
        client.chat("a")
    client.close()
    assert client.closed
    with pytest.raises(InferenceError, match="closed"):
        client.chat("a")


def test_creating_with_a_url_asks_nothing(free_port: int) -> None:
    """A client may be made before its server runs: errors come at the call, naming the URL."""
    client = UnifiedInferenceClient.create(f"http://localhost:{free_port}/v1", retries=0)
    with client, pytest.raises(InferenceError, match=rf"localhost:{free_port}.*sage llm serve"):
        client.chat("a")


def test_status_of_a_dead_server_says_why(free_port: int) -> None:
    """get_status never raises: a dead server is unhealthy, with the reason."""
    with UnifiedInferenceClient.create(
        f"http://localhost:{free_port}/v1", default_llm_model="Qwen/Qwen2.5-7B-Instruct"
    ) as client:
        status = client.get_status()
    assert status["llm"]["healthy"] is False
    assert "cannot connect" in status["llm"]["problem"]
    assert status["llm"]["url"] == f"http://localhost:{free_port}/v1"
    assert status["llm"]["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert status["embedding"]["reason"] == "control_plane_url was given"


def test_status_of_a_live_server_names_its_models(client: UnifiedInferenceClient) -> None:
    """get_status says for each kind what is served and what would be asked."""
    status = client.get_status()
    assert status["llm"]["healthy"] is True
    assert status["llm"]["models"] == ["small-llm"]
    assert status["embedding"]["model"] == "small-embedder"
    assert status["embedding"]["problem"] is None


def test_a_client_pickles_as_its_configuration(fake: Any) -> None:
    """The copy asks the same server over connections of its own."""
    with UnifiedInferenceClient.create(fake.url, default_llm_model="m", retries=1) as client:
        client.chat("a")
        copied = pickle.dumps(client)
    with pickle.loads(copied) as copy:
        assert copy.config == client.config
        assert copy.chat("b", return_result=True).model == "m"
