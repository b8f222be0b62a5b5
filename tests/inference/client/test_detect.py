"""Detection: local, then what the environment names, then the cloud, each with its reason."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sage.config.settings import Settings
from sage.errors import ConfigError, NoBackendError
from sage.inference.client import UnifiedInferenceClient
from sage.inference.client.answers import ListedModel
from sage.inference.client.config import ClientConfig
from sage.inference.client.detect import CLOUD_URL, Candidate, judge, plan
from sage.inference.client.health import Health
from sage.inference.scheduling.request import Kind

Put = Callable[..., None]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, free_port: int) -> Put:
    """Says where gateway, llm and embedding servers are; the others get a port with nobody."""

    def set_ports(gateway: Any = None, llm: Any = None, embedding: Any = None) -> None:
        for name, server in (("GATEWAY", gateway), ("LLM", llm), ("EMBEDDING", embedding)):
            port = getattr(server, "port", server) or free_port
            monkeypatch.setenv(f"SAGE_{name}_PORT", str(port))

    set_ports()
    return set_ports


def places(client: UnifiedInferenceClient) -> tuple[str, str]:
    """The sources chosen for LLM and embedding."""
    status = client.get_status()
    return status["llm"]["source"], status["embedding"]["source"]


def test_a_local_gateway_serves_both(fake: Any, put: Put) -> None:
    """A healthy gateway is taken for what it serves, by the literal loopback address."""
    put(gateway=fake)
    with UnifiedInferenceClient.create_auto() as client:
        status = client.get_status()
        assert places(client) == ("local gateway", "local gateway")
        assert status["llm"]["url"] == f"http://127.0.0.1:{fake.port}/v1"
        assert "first place that answered" in status["llm"]["reason"]
        assert status["llm"]["healthy"]
        assert client.chat("a") == "echo: a"
        assert client.embed("abc") == [3.0, 0.0]


def test_engines_are_found_without_a_gateway(serve: Any, put: Put) -> None:
    """LLM and embedding engines are found at their own ports, each for its kind."""
    llm, embedder = serve().models("l").openai(), serve().models("e").openai()
    put(llm=llm, embedding=embedder)
    with UnifiedInferenceClient.create() as client:
        assert places(client) == ("local engine", "local engine")
        client.chat("a")
        client.embed("a")
        tried = client.get_status()["llm"]["tried"]
    assert [seen.path for seen in llm.seen].count("/v1/chat/completions") == 1
    assert [seen.path for seen in embedder.seen].count("/v1/embeddings") == 1
    assert "cannot connect" in tried[0]["outcome"]  # the gateway's port


def test_a_gateway_of_llms_only_is_not_the_embedding_target(serve: Any, put: Put) -> None:
    """The kinds are looked for each on its own; chat still works when embedding has nobody."""
    put(gateway=serve().models(("l", "llm")).openai())
    with UnifiedInferenceClient.create() as client:
        assert places(client) == ("local gateway", "none")
        assert client.chat("a") == "echo: a"
        with pytest.raises(NoBackendError, match=r"serves no embedding model \(it serves l\)"):
            client.embed("a")
        assert client.get_status()["embedding"]["healthy"] is False


def test_an_unmarked_server_on_the_gateway_port_is_an_llm(serve: Any, put: Put) -> None:
    """vLLM's own default port is 8000: what is not marked there is taken for an LLM."""
    put(gateway=serve().models("l").openai())
    with UnifiedInferenceClient.create() as client:
        assert places(client) == ("local gateway", "none")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b'{"data": 3}', 200), (b'{"data": [{}]}', 200), (b"no", 404), (b"", 500)],
)
def test_some_other_web_server_is_not_taken(serve: Any, put: Put, body: bytes, status: int) -> None:
    """Port 8000 is popular: only a server that lists models as OpenAI does is taken."""
    server = serve()
    answer = SimpleNamespace(body=body, status=status, headers={}, chunks=None, cut=False)
    server.routes["/v1/models"] = lambda _: answer
    put(gateway=server)
    with pytest.raises(NoBackendError, match=rf"127\.0\.0\.1:{server.port}"):
        UnifiedInferenceClient.create()


def test_an_engine_that_still_loads_is_not_taken(serve: Any, put: Put) -> None:
    """A server whose /health says 503 is not healthy, though it lists its model."""
    loading = serve().models("l").openai()
    answer = SimpleNamespace(
        body=b'{"error": {"message": "Loading model"}}',
        status=503,
        headers={},
        chunks=None,
        cut=False,
    )
    loading.routes["/health"] = lambda _: answer
    put(llm=loading)
    with pytest.raises(NoBackendError, match="Loading model"):
        UnifiedInferenceClient.create()


def test_a_gateway_whose_engines_are_down_is_not_taken(serve: Any, put: Put, fake: Any) -> None:
    """The gateway's /health tells which kinds have a live instance."""
    body = (
        b'{"status": "degraded", "instances": [{"id": "l", "kind": "llm", "up": false},'
        b' {"id": "e", "kind": "embedding", "up": true}]}'
    )
    answer = SimpleNamespace(body=body, status=200, headers={}, chunks=None, cut=False)
    fake.routes["/health"] = lambda _: answer
    put(gateway=fake)
    with UnifiedInferenceClient.create() as client:
        status = client.get_status()
        assert places(client) == ("none", "local gateway")
        assert "no llm instance is up" in str(status["llm"]["tried"])


def test_what_dotenv_names_comes_second(
    serve: Any, put: Put, fake: Any, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody local, .env's servers, models and keys are used, interpolated."""
    Path(".env").write_text(
        f"SAGE_FAKE_PORT={fake.port}\n"
        "SAGE_CHAT_BASE_URL=http://localhost:${SAGE_FAKE_PORT}/v1\n"
        "SAGE_CHAT_MODEL=named-llm\n"
        "SAGE_CHAT_API_KEY=sk-chat\n"
        "SAGE_EMBEDDING_BASE_URL=http://localhost:${SAGE_FAKE_PORT}/v1\n"
        "SAGE_EMBEDDING_MODEL=named-embedder\n"
    )
    with UnifiedInferenceClient.create() as client:
        assert places(client) == ("environment or .env", "environment or .env")
        reason = client.get_status()["llm"]["reason"]
        assert "SAGE_CHAT_BASE_URL names it; the first place that answered" in reason
        client.chat("a")
        client.embed("a")
    (chat,) = [seen for seen in fake.seen if seen.path == "/v1/chat/completions"]
    (embed,) = [seen for seen in fake.seen if seen.path == "/v1/embeddings"]
    assert (chat.json["model"], chat.headers["authorization"]) == ("named-llm", "Bearer sk-chat")
    assert (embed.json["model"], embed.headers.get("authorization")) == ("named-embedder", None)


def test_local_goes_before_dotenv_and_prefer_local_turns_it(
    serve: Any, put: Put, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local first by default, last with prefer_local=False; the other is not even asked."""
    named = serve().models("n").openai()
    put(gateway=fake)
    monkeypatch.setenv("SAGE_CHAT_BASE_URL", named.url)
    monkeypatch.setenv("SAGE_EMBEDDING_BASE_URL", named.url)
    with UnifiedInferenceClient.create(prefer_local=True) as client:
        assert places(client) == ("local gateway", "local gateway")
    assert named.seen == []
    fake.seen.clear()
    with UnifiedInferenceClient.create(prefer_local=False) as client:
        assert places(client) == ("environment or .env", "environment or .env")
    assert fake.seen == []
    named.close()
    with UnifiedInferenceClient.create(prefer_local=False) as client:
        assert places(client) == ("local gateway", "local gateway")


def test_a_named_server_without_a_model_list_is_taken(
    serve: Any, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers have no /v1/models; one that the user named, with its model, is used."""
    bare = serve().openai()
    monkeypatch.setenv("SAGE_CHAT_BASE_URL", bare.url)
    with pytest.raises(NoBackendError):
        UnifiedInferenceClient.create()
    monkeypatch.setenv("SAGE_CHAT_MODEL", "m")
    with UnifiedInferenceClient.create() as client:
        assert client.chat("a") == "echo: a"
        assert "lists no models" in client.get_status()["llm"]["reason"]


def test_a_local_server_without_the_wanted_model_is_passed_over(
    serve: Any, put: Put, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default model that the local server does not serve is looked for further on."""
    named = serve().models("big-llm").openai()
    put(gateway=fake)
    monkeypatch.setenv("SAGE_CHAT_BASE_URL", named.url)
    with UnifiedInferenceClient.create(default_llm_model="big-llm") as client:
        status = client.get_status()
        assert status["llm"]["url"] == named.url
        assert "serves small-llm, not big-llm" in status["llm"]["tried"][0]["outcome"]


def test_the_settings_choose_among_local_models(
    fake: Any, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAGE_CHAT_MODEL is the default model of a local server that serves it."""
    fake.models(("a", "llm"), ("b", "llm"))
    put(gateway=fake)
    monkeypatch.setenv("SAGE_CHAT_MODEL", "b")
    with UnifiedInferenceClient.create() as client:
        client.chat("x")
    assert fake.posted("/v1/chat/completions")[0]["model"] == "b"


def test_nobody_there_lists_every_place(put: Put, free_port: int) -> None:
    """The error names each place, why it failed, and what to do, and comes within a second."""
    began = time.perf_counter()
    with pytest.raises(NoBackendError) as caught:
        UnifiedInferenceClient.create()
    assert time.perf_counter() - began < 1
    said = str(caught.value)
    for part in (
        f"http://127.0.0.1:{free_port}/v1 (local gateway): ",
        "cannot connect",
        "SAGE_CHAT_BASE_URL (environment or .env): not set",
        "SAGE_EMBEDDING_BASE_URL (environment or .env): not set",
        f"{CLOUD_URL} (cloud): SAGE_CHAT_API_KEY is not set",
        "sage llm serve",
    ):
        assert part in said
    assert "\n" not in said


def test_silent_servers_are_bounded(put: Put) -> None:
    """Ports that accept and never answer cost half a second together, not each."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        port = silent.getsockname()[1]
        put(gateway=port, llm=port, embedding=port)
        began = time.perf_counter()
        with pytest.raises(NoBackendError, match=r"no answer within 0\.5 s"):
            UnifiedInferenceClient.create()
        assert time.perf_counter() - began < 1.5


def test_an_endless_answer_is_bounded(serve: Any, put: Put) -> None:
    """A server that pours bytes at the question is left, by size or by time."""
    server = serve()

    def pour() -> Iterator[bytes]:
        while not server.left.is_set():
            yield b"x" * 65536

    answer = SimpleNamespace(status=200, headers={}, chunks=pour(), cut=False)
    server.routes["/v1/models"] = lambda _: answer
    put(gateway=server)
    with pytest.raises(NoBackendError, match=r"larger than|not whole"):
        UnifiedInferenceClient.create()


def test_the_choice_is_logged_once(fake: Any, put: Put, caplog: pytest.LogCaptureFixture) -> None:
    """One line a kind says where requests go and why; calls log nothing more."""
    put(gateway=fake)
    caplog.set_level(logging.INFO, "sage.client")
    with UnifiedInferenceClient.create() as client:
        client.chat("a")
        client.get_status()
    lines = [record.message for record in caplog.records if record.name == "sage.client"]
    assert len(lines) == 2
    assert f"llm requests go to http://127.0.0.1:{fake.port}/v1" in lines[0]


def test_a_wrong_url_in_the_environment_names_its_variable(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL without a host is a ConfigError that says which variable holds it."""
    monkeypatch.setenv("SAGE_EMBEDDING_BASE_URL", "http:///v1")
    with pytest.raises(ConfigError, match="SAGE_EMBEDDING_BASE_URL"):
        UnifiedInferenceClient.create()


def cloud(**settings: Any) -> dict[Kind, Candidate]:
    """The cloud candidates for these settings."""
    (tier,) = plan(ClientConfig(), Settings(**settings))[2:]
    return {kind: place for place in tier for kind in place.kinds}


def test_the_cloud_needs_a_key_and_a_model() -> None:
    """Without either it is not looked at, and says what is missing."""
    assert cloud()[Kind.LLM].note == "SAGE_CHAT_API_KEY is not set"
    assert "SAGE_CHAT_MODEL" in cloud(chat_api_key="k")[Kind.LLM].note
    both = cloud(chat_api_key="k", chat_model="m", embedding_model="e")
    assert both[Kind.LLM].endpoint is not None
    assert both[Kind.LLM].endpoint.url == "https://api.openai.com/v1"
    assert both[Kind.EMBEDDING].model == "e"


def test_a_named_remote_server_is_the_cloud() -> None:
    """SAGE_CHAT_BASE_URL replaces OpenAI, unless it is this machine's own (the tutorial's .env)."""
    settings = {"chat_api_key": "k", "chat_model": "m"}
    assert Kind.LLM not in cloud(chat_base_url="https://dashscope.example/v1", **settings)
    assert cloud(chat_base_url="http://localhost:8001/v1", **settings)[Kind.LLM].endpoint


def test_default_ports_are_the_documented_ones() -> None:
    """8000; 8001, 8002, 8901, 8902; 8090, 8091: all by 127.0.0.1, in this order."""
    local = plan(ClientConfig(), Settings())[0]
    ports = [place.place.removeprefix("http://127.0.0.1:") for place in local]
    assert ports == [f"{p}/v1" for p in (8000, 8001, 8002, 8901, 8902, 8090, 8091)]


def test_environment_keys_never_go_to_local_places() -> None:
    """A key of the cloud is not sent to whatever listens on a local port."""
    settings = Settings(chat_api_key="sk", embedding_api_key="sk")
    for place in plan(ClientConfig(), settings)[0]:
        assert place.endpoint is not None
        assert place.endpoint.api_key is None


def test_a_model_that_is_marked_otherwise_is_not_offered() -> None:
    """An engine port that answers with embeddings only is no LLM."""
    place = Candidate("p", None, (Kind.LLM,), "local engine", unmarked=(Kind.LLM,))
    health = Health((ListedModel("e", Kind.EMBEDDING),))
    assert not judge(place, health, Kind.LLM, None).taken
