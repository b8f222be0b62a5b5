"""The client that pipelines ask: the user's own, or one that all operators of the process share.

The only module of the dataflow package that knows the inference package, as a user's code would.
"""

from __future__ import annotations

import inspect
import logging
import threading
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
    """Make the client that is used when none is given."""
    from sage.inference.client import UnifiedInferenceClient

    # The operator tries again itself, which is counted and holds to its rate limits.
    return UnifiedInferenceClient.create(retries=0)


class SharedClient:
    """Makes a client when it is first asked for, and closes it when the last user has left.

    Args:
        create: makes it.
    """

    def __init__(self, create: Callable[[], ModelClient] = create_client) -> None:
        self._create = create
        self._lock = threading.Lock()
        self._client: ModelClient | None = None
        self._users = 0

    def enter(self) -> ModelClient:
        """Return the client, which stays open until `leave`."""
        with self._lock:
            if self._client is None:
                self._client = self._create()
                log.info("pipelines without client= share %r", self._client)
            self._users += 1
            return self._client

    async def leave(self) -> None:
        """Give it up."""
        with self._lock:
            self._users -= 1
            client = self._client
            if self._users:
                return
            self._client = None
        close = getattr(client, "aclose", None)
        if close is not None:
            await close()


SHARED = SharedClient()


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
