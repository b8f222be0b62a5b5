"""What the operators that ask a model have in common: client, rate limits, cache and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage.dataflow.content import content_digest
from sage.dataflow.context import OperatorMetrics, RuntimeContext
from sage.dataflow.models.clients import ModelClient, create_client, default_model
from sage.dataflow.models.usage import Account, Price
from sage.dataflow.rate_limit import RateLimiter
from sage.dataflow.write_behind import WriteBehind


@dataclass(frozen=True)
class ModelSettings:
    """How a model is asked; the replicas of an operator share it.

    Attributes:
        client: asks; None for the one that the job's operators share in each process.
        model: named in each request; None for the server's own choice.
        params: further parameters of each request.
        timeout: seconds for each answer; None for the client's own.
        limiter: says when a request may begin.
        cache: file of the results that are kept; None keeps none.
        version: of those results.
        price: of the tokens.
    """

    client: ModelClient | None = None
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    limiter: RateLimiter = field(default_factory=RateLimiter)
    cache: Path | None = None
    version: str = "1"
    price: Price | None = None


class ModelOperator(WriteBehind):
    """Asks a model about each record.

    Args:
        kind: "llm" or "embedding".
        settings: how it is asked.
    """

    def __init__(self, kind: str, settings: ModelSettings) -> None:
        self._kind = kind
        self._settings = settings
        self._model = settings.model
        # A client of the user's own may not know of a timeout.
        limit = {} if settings.timeout is None else {"timeout": settings.timeout}
        self._params = {**settings.params, **limit}
        self._account = Account(OperatorMetrics(), settings.price)
        self._client: ModelClient | None = settings.client
        self._prefix = b""

    async def open(self, context: RuntimeContext) -> None:
        """Take the client, and open the cache.

        Raises:
            NoBackendError: no client was given, and no server was found.
            ConfigError: the cache cannot be used, or the model's name be told.
        """
        settings = self._settings
        self._account = Account(context.metrics, settings.price)
        if settings.client is None:
            # It looks for servers, which is no work for the event loop.
            self._client = await asyncio.to_thread(context.services.share, create_client)
        if settings.cache is not None:
            self.open_cache(settings.cache)
            self._model = settings.model or await default_model(self.client, self._kind)
            self._prefix = content_digest(
                self._kind, self._model, dict(settings.params), settings.version
            )

    async def close(self) -> None:
        """Close the cache; the client is the user's, or the job's."""
        self.close_cache()

    @property
    def client(self) -> ModelClient:
        """The client; there is one between `open` and `close`."""
        assert self._client is not None
        return self._client

    def key(self, asked: Any) -> bytes | None:
        """Return what a result is kept under, or None when none are kept."""
        return None if self._cache is None else content_digest(self._prefix, asked)

    async def ask(self, estimate: int, method: str, *asked: Any) -> Any:
        """Send a request when it may begin, and count what it used.

        Args:
            estimate: tokens that it may use.
            method: of the client.
            asked: its arguments.
        """
        settings = self._settings
        await settings.limiter.wait(estimate)
        self._account.count("requests")
        send = getattr(self.client, method)
        result = await send(*asked, self._model, return_result=True, **self._params)
        read, written = result.prompt_tokens, result.completion_tokens
        if read is not None:
            settings.limiter.correct(estimate, read + (written or 0))
        self._account.used(read or 0, written or 0)
        return result
