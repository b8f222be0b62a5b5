"""The tutorial's client snippets run as they are written; only their ports are the test's."""

from __future__ import annotations

import time
from statistics import mean, stdev
from typing import Any

import pytest

from sage.common.components.sage_llm import UnifiedInferenceClient
from sage.common.config.ports import SagePorts


@pytest.fixture
def gateway(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway that answers to the tutorial's models, where detection looks for it."""
    fake.models(("Qwen/Qwen2.5-7B-Instruct", "llm"), ("BAAI/bge-m3", "embedding"))
    for name in ("GATEWAY", "LLM", "EMBEDDING"):
        monkeypatch.setenv(f"SAGE_{name}_PORT", str(fake.port))
    monkeypatch.setattr(SagePorts, "GATEWAY_DEFAULT", fake.port)
    return fake


def test_control_plane_mode(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A client of the gateway with both default models prints its status."""
    client = UnifiedInferenceClient.create(
        control_plane_url=f"http://localhost:{SagePorts.GATEWAY_DEFAULT}/v1",
        default_llm_model="Qwen/Qwen2.5-7B-Instruct",
        default_embedding_model="BAAI/bge-m3",
    )
    status = client.get_status()
    print(status)
    assert "'healthy': True" in capsys.readouterr().out

    query = "你好"
    response = client.chat(
        messages=[{"role": "user", "content": query}],
        max_tokens=128,
        temperature=0.0,
    )
    assert response == "echo: 你好"
    assert gateway.posted("/v1/chat/completions")[0]["temperature"] == 0.0
    client.close()


def test_batched_embedding(gateway: Any) -> None:
    """create_auto, then one call for 100 texts, one by one, and the large data set in batches."""
    client = UnifiedInferenceClient.create_auto()

    texts = [f"文本{n}" for n in range(1, 101)]
    vectors = client.embed(texts)
    assert len(vectors) == 100
    for text in texts[:3]:
        vector = client.embed(text)
        assert vector == [float(len(text)), 0.0]

    def embed_large_dataset(texts: list[str], batch_size: int = 32) -> list[list[float]]:
        all_vectors = []
        for i in range(0, len(texts), batch_size):
            batch = texts[i : i + batch_size]
            vectors = client.embed(batch)
            all_vectors.extend(vectors)
        return all_vectors

    many = ["x" * (n % 50) for n in range(1000)]
    assert [vector[0] for vector in embed_large_dataset(many, batch_size=64)] == [
        float(n % 50) for n in range(1000)
    ]
    client.close()


def test_one_client_and_local_first(gateway: Any) -> None:
    """get_instance("default") and prefer_local=True, then the tutorial's own benchmark."""
    client = UnifiedInferenceClient.get_instance("default")
    local = UnifiedInferenceClient.create(prefer_local=True)
    assert local.get_status()["llm"]["source"] == "local gateway"

    prompts = [f"prompt {n}" for n in range(8)]
    for prompt in prompts[:5]:
        client.generate(prompt, max_tokens=50)
    latencies = []
    for prompt in prompts:
        start = time.perf_counter()
        client.generate(prompt, max_tokens=50)
        latencies.append(time.perf_counter() - start)
    assert mean(latencies) > 0
    assert stdev(latencies) >= 0
    assert gateway.connections <= 20
    local.close()
    client.close()


def test_a_client_of_a_server_that_is_not_up_yet() -> None:
    """The client of port 8901 is made without a server there."""
    client = UnifiedInferenceClient.create(
        control_plane_url="http://localhost:8901/v1",
        default_llm_model="Qwen/Qwen2.5-7B-Instruct",
    )
    client.close()
