"""Vectors from any endpoint that speaks OpenAI's /embeddings."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import numpy as np

from sage.errors import ConfigError, UpstreamError
from sage.inference.client.calls import Call, encode, is_loopback
from sage.inference.client.calls import base_url as with_version
from sage.inference.client.errors import HTTP_ERRORS, from_exception, from_status
from sage.inference.embeddings.embedder import EmbeddingUsage, UsageCounter
from sage.inference.embeddings.pooling import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger("sage.embeddings")


_CONNECT_TIMEOUT = 5.0


class _Row(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class OpenAIEmbedder:
    """An OpenAI-compatible endpoint, over one pool of keep-alive connections.

    Args:
        model: the model's name at the endpoint.
        base_url: the server's URL, with or without ``/v1``.
        api_key: sent as a bearer token; default none.
        dimensions: ask for shorter vectors, where the model can; default the model's own length.
        timeout: seconds for each request.
        max_texts: texts a request; more are sent in several.

    Raises:
        ConfigError: the URL is not http(s), or a number is below its least.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | None = None,
        dimensions: int | None = None,
        timeout: float = 60.0,
        max_texts: int = 256,
    ) -> None:
        if max_texts < 1 or timeout <= 0:
            raise ConfigError(f"max_texts={max_texts} must be ≥ 1 and timeout={timeout} > 0")
        self._model = model
        self._call = Call(
            "POST",
            f"{with_version(base_url)}/embeddings",
            api_key=api_key,
            timeout_s=timeout,
            connect_timeout_s=min(timeout, _CONNECT_TIMEOUT),
        )
        self._dimensions = dimensions
        self._max_texts = max_texts
        self._dim: int | None = dimensions
        self._counter = UsageCounter(model, None)
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(timeout, connect=self._call.connect_timeout_s),
            # A proxy cannot reach this machine's own loopback.
            trust_env=not is_loopback(self._call.url),
        )

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        return self._model

    @property
    def dim(self) -> int:
        """The length of a vector; asks the endpoint when it has not answered yet."""
        if self._dim is None:
            self.embed(["dimension"])
        assert self._dim is not None
        return self._dim

    @property
    def max_tokens(self) -> None:
        """None: only the endpoint knows."""
        return

    @property
    def usage(self) -> EmbeddingUsage:
        """What has been embedded so far; tokens as the endpoint counts them."""
        return self._counter.usage

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised vector a text, in order: float32, (len(texts), dim).

        Raises:
            InferenceError: nothing answers there.
            RequestTimeoutError: no answer within ``timeout``.
            RejectedError: 429 or 503; carries retry_after.
            BadRequestError: another 4xx.
            UpstreamError: 5xx, or an answer that is not what was promised.
        """
        if not texts:
            return np.empty((0, self.dim), np.float32)
        parts = [
            self._embed_some(list(texts[start : start + self._max_texts]))
            for start in range(0, len(texts), self._max_texts)
        ]
        return normalise(np.concatenate(parts))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _embed_some(self, texts: list[str]) -> npt.NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "base64"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer = self._decode(self._post(body))
        rows = sorted(answer.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(len(texts))):
            raise UpstreamError(
                f"{self._call.url} answered {len(rows)} vectors for {len(texts)} texts, "
                "or numbered them wrongly"
            )
        vectors = [self._vector(row.embedding) for row in rows]
        lengths = {len(vector) for vector in vectors} | ({self._dim} if self._dim else set())
        if len(lengths) != 1:
            raise UpstreamError(f"{self._call.url} answered vectors of several lengths: {lengths}")
        self._dim = len(vectors[0])
        self._counter.add(texts=len(texts), tokens=answer.usage.prompt_tokens)
        return np.stack(vectors)

    def _post(self, body: dict[str, Any]) -> httpx2.Response:
        call = replace(self._call, body=encode(body))
        try:
            response = self._client.request(
                call.method, call.url, content=call.body, headers=call.headers()
            )
        except HTTP_ERRORS as error:
            raise from_exception(call, error) from error
        if response.status_code != 200:
            raise from_status(call, response.status_code, response.headers, response.content)
        return response

    def _decode(self, response: httpx2.Response) -> _Answer:
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.MsgspecError as error:
            raise UpstreamError(
                f"{self._call.url} answered something other than embeddings: {error}"
            ) from error

    def _vector(self, embedding: str | list[float]) -> npt.NDArray[np.float32]:
        if not isinstance(embedding, str):
            return np.array(embedding, np.float32)
        try:
            raw = base64.b64decode(embedding, validate=True)
            # Little-endian float32, as OpenAI sends it.
            return np.frombuffer(raw, np.dtype("<f4")).astype(np.float32)
        except ValueError as error:
            raise UpstreamError(f"{self._call.url} answered broken base64: {error}") from error
