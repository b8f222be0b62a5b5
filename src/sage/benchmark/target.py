"""Finding what is to be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig
from sage.benchmark.wire import Models
from sage.config.paths import user_paths
from sage.config.ports import LOOPBACK, SagePorts
from sage.config.settings import load_settings
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.gateway.target import parse_target
from sage.inference.scheduling.request import Kind

_WAYS = (
    "start one here with `sage llm serve`, name another with --url http://HOST:PORT, "
    "give --embedded to start the packaged engines for this run, "
    "or --simulate to measure engines that are a model"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answers, and the models a run will ask.

    Attributes:
        url: its base URL, without ``/v1``.
        models: whom to ask.
        api_key: sent as a bearer token when there is one.
    """

    url: str
    models: Models
    api_key: str | None = None


def find_target(config: BenchmarkConfig, *, api_key: str | None = None) -> Found:
    """Return the server that the configuration names, by default the gateway on this machine.

    Raises:
        ConfigError: nothing answers there, or it lacks a model; names the ways to a target.
    """
    port = load_settings().gateway_port or SagePorts.GATEWAY_DEFAULT
    url = (config.url or f"http://{LOOPBACK}:{port}").rstrip("/")
    parse_target(url)
    listed = _listed(url, api_key)
    embedding = None
    if isinstance(config, HybridBenchmarkConfig) and config.llm_ratio < 1:
        embedding = _choose(listed, Kind.EMBEDDING, config.embedding_model, url)
    chat = None
    if not isinstance(config, HybridBenchmarkConfig) or config.llm_ratio > 0:
        chat = _choose(listed, Kind.LLM, config.model, url)
    return Found(url, Models(chat, embedding), api_key)


def _listed(url: str, api_key: str | None) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    where = f"{url}/v1/models"
    try:
        answer = httpx2.get(where, headers=headers, timeout=10, trust_env=False)
    except httpx2.HTTPError as error:
        raise ConfigError(f"nothing to measure: {url} does not answer ({error}); {_WAYS}") from None
    try:
        models = answer.json()["data"] if answer.is_success else None
        return [{"id": str(model["id"]), "kind": model.get("kind")} for model in models or ()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{where} does not answer with a list of models; {_WAYS}") from None


def _choose(listed: list[dict[str, Any]], kind: Kind, asked: str | None, url: str) -> str:
    """An engine's own list marks no kinds: there a model counts as what it is asked for."""
    fitting = [model["id"] for model in listed if model["kind"] in (kind.value, None)]
    if asked is not None:
        if asked not in fitting:
            raise UnknownKeyError(asked, fitting, where=f"{kind.value} models of {url}")
        return asked
    if not fitting:
        raise ConfigError(
            f"{url} serves no model of kind {kind.value!r}; it has: "
            f"{', '.join(model['id'] for model in listed) or 'none'}"
        )
    return str(fitting[0])


@contextmanager
def embedded_gateway(config: BenchmarkConfig) -> Iterator[str]:
    """Run the packaged engines and a gateway on free ports; give the gateway's URL.

    It keeps its state in a folder of its own, so that it does not meet the user's stack.

    Raises:
        SageError: a model is not installed, or an engine does not start.
    """
    from sage.inference.engines.plan import StackConfig
    from sage.inference.engines.stack import running_stack

    stack = StackConfig(
        model=config.model,
        embedding_model=getattr(config, "embedding_model", None),
        embedding=isinstance(config, HybridBenchmarkConfig),
        gateway_port=0,
        llm_port=0,
        embedding_port=0,
    )
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as folder:
        paths = replace(user_paths(), state=Path(folder) / "state", logs=Path(folder) / "logs")
        with running_stack(stack, paths=paths) as running:
            yield running.gateway_url
