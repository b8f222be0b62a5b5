"""Vectors from any endpoint that speaks OpenAI's /embeddings."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import numpy as np

from sage.errors import (
    BadRequestError,
    ConfigError,
    NoBackendError,
    RejectedError,
    RequestTimeoutError,
    UpstreamError,
    shorten,
)
from sage.inference.embeddings.embedder import EmbeddingUsage, UsageCounter
from sage.inference.embeddings.pooling import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger("sage.embeddings")


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
        base_url: up to and including ``/v1``.
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
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url {base_url!r} must start with http:// or https://")
        if max_texts < 1 or timeout <= 0:
            raise ConfigError(f"max_texts={max_texts} must be ≥ 1 and timeout={timeout} > 0")
        self._model = model
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._dimensions = dimensions
        self._max_texts = max_texts
        self._dim: int | None = dimensions
        self._counter = UsageCounter(model, None)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx2.Client(timeout=timeout, headers=headers)

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
            NoBackendError: nothing answers there.
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
                f"{self._url} answered {len(rows)} vectors for {len(texts)} texts, "
                "or numbered them wrongly"
            )
        vectors = [_vector(row.embedding) for row in rows]
        lengths = {len(vector) for vector in vectors} | ({self._dim} if self._dim else set())
        if len(lengths) != 1:
            raise UpstreamError(f"{self._url} answered vectors of several lengths: {lengths}")
        self._dim = len(vectors[0])
        self._counter.add(texts=len(texts), tokens=answer.usage.prompt_tokens)
        return np.stack(vectors)

    def _post(self, body: dict[str, Any]) -> httpx2.Response:
        try:
            response = self._client.post(
                self._url,
                content=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )
        except httpx2.ConnectError as error:
            raise NoBackendError(f"nothing answers at {self._url}: {error}") from error
        except httpx2.TimeoutException as error:
            raise RequestTimeoutError(
                f"{self._url} did not answer within {self._client.timeout.read} s"
            ) from error
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{self._url} broke off: {error}") from error
        if response.status_code != 200:
            raise _status_error(self._url, response)
        return response

    def _decode(self, response: httpx2.Response) -> _Answer:
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.MsgspecError as error:
            raise UpstreamError(
                f"{self._url} answered something other than embeddings: {error}"
            ) from error


def _vector(embedding: str | list[float]) -> npt.NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), np.dtype("<f4")).astype(np.float32)
    return np.array(embedding, np.float32)


def _status_error(url: str, response: httpx2.Response) -> Exception:
    message = f"{url} answered {response.status_code}: {shorten(response.text, 500)}"
    if response.status_code in (429, 503):
        wait = response.headers.get("retry-after", "")
        return RejectedError(
            message,
            status=response.status_code,
            retry_after=float(wait) if wait.replace(".", "", 1).isdigit() else None,
        )
    if 400 <= response.status_code < 500:
        return BadRequestError(message, status=response.status_code)
    return UpstreamError(message)
