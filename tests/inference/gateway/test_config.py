"""The server's configuration, in Python and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage.config.ports import SagePorts
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.gateway import BackendInstanceConfig, UnifiedServerConfig, load_config
from sage.inference.scheduling.request import Kind

BACKEND = {"port": 8001, "model_name": "m"}


def test_the_tutorials_configuration() -> None:
    """It is taken as written, and each backend becomes an instance of its kind and limit."""
    config = UnifiedServerConfig(
        port=SagePorts.GATEWAY_DEFAULT,
        scheduling_policy="fifo",
        enable_control_plane=True,
        llm_backends=[
            BackendInstanceConfig(
                host="localhost",
                port=SagePorts.get_recommended_llm_port(),
                model_name="Qwen/Qwen2.5-7B-Instruct",
                instance_type="llm",
                max_concurrent_requests=128,
            ),
        ],
        embedding_backends=[
            BackendInstanceConfig(
                host="localhost",
                port=SagePorts.EMBEDDING_DEFAULT,
                model_name="BAAI/bge-m3",
                instance_type="embedding",
                max_concurrent_requests=256,
            ),
        ],
    )
    (llm, backend), (embedding, _) = config.instances()
    assert (llm.id, llm.kind, llm.max_requests) == ("llm-localhost-8001", Kind.LLM, 128)
    assert backend.url == "http://localhost:8001"
    assert embedding.models == ("BAAI/bge-m3",)


def test_limits_in_tokens() -> None:
    """As the engine states them; a plain proxy bounds nothing."""
    backend = BackendInstanceConfig(
        **BACKEND, max_tokens=900, max_request_tokens=500, chunk_tokens=256
    )
    spec = backend.spec(Kind.LLM)
    assert (spec.max_tokens, spec.max_request_tokens, spec.chunk_tokens) == (900, 500, 256)
    assert BackendInstanceConfig(**BACKEND).spec(Kind.LLM).chunk_tokens == 8192
    proxy = UnifiedServerConfig(enable_control_plane=False, llm_backends=[backend])
    ((spec, _),) = proxy.instances()
    assert spec.max_tokens is None


def test_remote_addresses() -> None:
    """https with a prefix is taken, a /v1 at its end left out, and a key kept out of repr."""
    backend = BackendInstanceConfig(
        base_url="https://api.example.com/openai/v1/", model_name="m", api_key="secret-key"
    )
    assert backend.url == "https://api.example.com/openai"
    assert backend.spec(Kind.LLM).id == "llm-api.example.com-openai"
    assert "secret-key" not in repr(UnifiedServerConfig(llm_backends=[backend]))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": 0, "model_name": "m"}, "port must be from 1"),
        ({"model_name": "m"}, "needs a port"),
        ({"port": 1}, "model_name is missing"),
        ({**BACKEND, "instance_type": "lmm"}, "did you mean 'llm'"),
        ({**BACKEND, "max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({**BACKEND, "max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({**BACKEND, "chunk_tokens": -1}, "chunk_tokens must be at least 1, not -1"),
        ({"base_url": "ftp://x", "model_name": "m"}, "ftp://x"),
    ],
)
def test_a_wrong_backend_is_refused(values: dict[str, Any], says: str) -> None:
    """The message names field and value."""
    with pytest.raises(ConfigError, match=says):
        BackendInstanceConfig(**values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": -1}, "port"),
        ({"scheduling_policy": "fifoo"}, "did you mean 'fifo'"),
        ({"api_keys": "one-string"}, "must be a list"),
        ({"slow_start": -1}, "slow_start"),
        ({"llm_backends": [BackendInstanceConfig(**BACKEND)] * 2}, "two backends have the id"),
        (
            {"embedding_backends": [BackendInstanceConfig(**BACKEND, instance_type="llm")]},
            "stands among the embedding",
        ),
    ],
)
def test_a_wrong_server_is_refused(values: dict[str, Any], says: str) -> None:
    """The message names field and value."""
    with pytest.raises(ConfigError, match=says):
        UnifiedServerConfig(**values)


TOML = """
port = 0
scheduling_policy = "fifo"
api_keys = ["sha256:{zeros}"]
[limits]
request_timeout = 5
[breaker]
failures = 9
[[llm_backends]]
port = 8001
model_name = "m"
"""
YAML = """
port: 0
scheduling_policy: fifo
api_keys: ["sha256:{zeros}"]
limits: {{request_timeout: 5}}
breaker: {{failures: 9}}
llm_backends:
  - {{port: 8001, model_name: m}}
"""


@pytest.mark.parametrize(("name", "text"), [("g.toml", TOML), ("g.yaml", YAML)])
def test_both_kinds_of_file_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    """A file's keys are the dataclass's fields, nested ones too."""
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    path = tmp_path / name
    path.write_text(text.format(zeros="0" * 64))
    config = load_config(path)
    assert config.limits.request_timeout == 5
    assert config.breaker.failures == 9
    assert config.llm_backends == (BackendInstanceConfig(**BACKEND),)


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("g.toml", "prot = 1", UnknownKeyError, "did you mean 'port'"),
        ("g.toml", "[[llm_backends]]\nhots = 'x'", UnknownKeyError, "llm_backends 1.*'host'"),
        ("g.toml", "[limits]\nreq_timeout = 1", UnknownKeyError, "request_timeout"),
        ("g.toml", "port = 'x'", ConfigError, r"Expected `int`.*\$\.port"),
        ("g.toml", "port =", ConfigError, "is not TOML"),
        ("g.yaml", "a: [", ConfigError, "is not YAML"),
        ("g.yaml", "- 1", ConfigError, "must be a mapping"),
        ("g.ini", "", ConfigError, "ends in .toml"),
        ("missing.toml", None, ConfigError, "cannot be read"),
    ],
)
def test_mistakes_in_files_are_named(
    tmp_path: Path, name: str, text: str | None, error: type[Exception], says: str
) -> None:
    """With the file, the key and the nearest one there is."""
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=says) as caught:
        load_config(path)
    assert name in str(caught.value)


def test_limits_of_embedding_calls() -> None:
    """They are a backend's own; a plain proxy passes each request on as it came."""
    backend = BackendInstanceConfig(
        **BACKEND, max_inputs=96, max_batch_tokens=1000, max_calls=2, max_concurrent_requests=64
    )
    ((spec, _),) = UnifiedServerConfig(embedding_backends=[backend]).instances()
    assert (spec.coalesce, spec.max_inputs, spec.max_batch_tokens) == (True, 96, 1000)
    assert (spec.max_calls, spec.max_requests) == (2, 64)
    plain = UnifiedServerConfig(embedding_backends=[backend], enable_control_plane=False)
    assert plain.instances()[0][0].coalesce is False
    off = BackendInstanceConfig(**BACKEND, coalesce=False)
    assert off.spec(Kind.EMBEDDING).coalesce is False
    with pytest.raises(ConfigError, match="max_inputs must be at least 1, not 0"):
        BackendInstanceConfig(**BACKEND, max_inputs=0)
