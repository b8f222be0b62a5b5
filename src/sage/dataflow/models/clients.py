"""The client that pipelines ask: the user's own, or one that all operators of a job share.

The only module of the dataflow package that knows the inference package, as a user's code would.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from sage.errors import ConfigError

log = logging.getLogger("sage.dataflow.models")


class ChatClient(Protocol):
    """What ``llm`` calls: `UnifiedInferenceClient` has it.

    With ``return_result=True`` it returns an object with ``text``, ``model``, ``prompt_tokens`` and
    ``completion_tokens``; all but the text may be None.
    """

    @property
    def achat(self) -> Callable[..., Awaitable[Any]]:
        """Answer messages, or a text, with a model."""


class EmbeddingClient(Protocol):
    """What ``embed`` calls: `UnifiedInferenceClient` has it.

    With ``return_result=True`` it returns an object with ``vectors``, ``prompt_tokens`` and
    ``completion_tokens``; the numbers may be None.
    """

    @property
    def aembed(self) -> Callable[..., Awaitable[Any]]:
        """Turn a list of texts into vectors with a model."""


ModelClient: TypeAlias = ChatClient | EmbeddingClient


def check_client(client: object, method: str) -> None:
    """Raise `ConfigError` unless a client is None or has the coroutine method that is called."""
    if client is not None and not inspect.iscoroutinefunction(getattr(client, method, None)):
        raise ConfigError(
            f"client is {type(client).__name__!r}, which has no `async def {method}`; give a "
            "UnifiedInferenceClient, or None for the one that create() finds"
        )


def chat_parameters() -> frozenset[str]:
    """Return what a chat request may be given beside its messages and model."""
    from sage.inference.client.params import CHAT_PARAMS

    return CHAT_PARAMS | {"extra_body"}


def embedding_parameters() -> frozenset[str]:
    """Return what an embedding request may be given beside its texts and model."""
    from sage.inference.client.params import EMBEDDING_PARAMS

    return EMBEDDING_PARAMS | {"extra_body"}


def create_client() -> ModelClient:
    """Make the client that is used when none is given: one for a job in each of its processes."""
    from sage.inference.client import UnifiedInferenceClient

    # The operator tries again itself, which is counted and holds to its rate limits.
    client = UnifiedInferenceClient.create(retries=0)
    log.info("operators without client= share %r", client)
    return client


async def default_model(client: ModelClient, kind: str) -> str:
    """Return the model that a server answers with when none is named.

    Args:
        client: asks it.
        kind: "llm" or "embedding".

    Raises:
        ConfigError: it cannot be told.
    """
    status: Callable[[], Awaitable[Any]] | None = getattr(client, "aget_status", None)
    found = (await status())[kind] if status is not None else {}
    if not found.get("model"):
        why = found.get("problem") or "the client cannot say which one answers"
        raise ConfigError(f"cache= keeps results by model, and none was named ({why}); give model=")
    return str(found["model"])
