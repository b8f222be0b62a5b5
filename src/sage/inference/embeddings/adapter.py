"""The two shapes users hold: one text at a time, and many."""

from __future__ import annotations

import asyncio
from typing import Protocol, overload, runtime_checkable

from sage.errors import ConfigError, shorten
from sage.inference.embeddings.embedder import Embedder, EmbeddingUsage


class SingleTextEmbedder:
    """What ``EmbeddingFactory.create`` gives: ``embed`` takes one text.

    Wrap it in ``EmbeddingClientAdapter`` to embed many at once, which is several times faster.

    Args:
        embedder: what computes the vectors.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def embedder(self) -> Embedder:
        """What computes the vectors, many texts a call, as float32 arrays."""
        return self._embedder

    @property
    def name(self) -> str:
        """The model's name."""
        return self._embedder.name

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._embedder.dim

    @property
    def max_tokens(self) -> int | None:
        """The longest text embedded whole, in tokens; None when only the server knows."""
        return self._embedder.max_tokens

    @property
    def usage(self) -> EmbeddingUsage:
        """What has been embedded so far."""
        return self._embedder.usage

    def embed(self, text: str) -> list[float]:
        """Return the vector of one text: L2-normalised, ``dim`` floats.

        Raises:
            ConfigError: ``text`` is not one str.
        """
        if not isinstance(text, str):
            raise ConfigError(
                f"a raw embedder's embed() takes one str, not {shorten(text)}; "
                "EmbeddingClientAdapter(embedder).embed(texts) takes a list"
            )
        vector: list[float] = self._embedder.embed([text])[0].tolist()
        return vector

    def close(self) -> None:
        """Free what the embedder holds."""
        self._embedder.close()


@runtime_checkable
class EmbedsOneText(Protocol):
    """A user's own embedder: one text in, one vector out."""

    def embed(self, text: str, /) -> list[float]:
        """Return the text's vector."""


class EmbeddingClientAdapter:
    """Embeds one text or many with any embedder.

    Args:
        embedder: from ``EmbeddingFactory.create``, any ``Embedder``, or an object of the user's
            with ``embed(text) -> list[float]``, which is then called text by text.

    Raises:
        ConfigError: the object has no ``embed``.
    """

    def __init__(self, embedder: SingleTextEmbedder | Embedder | EmbedsOneText) -> None:
        self._many: Embedder | None = None
        self._one: EmbedsOneText | None = None
        if isinstance(embedder, SingleTextEmbedder):
            self._many = embedder.embedder
        elif isinstance(embedder, Embedder):
            self._many = embedder
        elif isinstance(embedder, EmbedsOneText):
            self._one = embedder
        else:
            raise ConfigError(
                f"EmbeddingClientAdapter needs an embedder, not {shorten(embedder)}; "
                "make one with EmbeddingFactory.create('onnx')"
            )

    @overload
    def embed(self, texts: str) -> list[float]: ...

    @overload
    def embed(self, texts: list[str] | tuple[str, ...]) -> list[list[float]]: ...

    def embed(self, texts: str | list[str] | tuple[str, ...]) -> list[float] | list[list[float]]:
        """Return one vector for a str, or a list of vectors, in order, for a list of str."""
        if isinstance(texts, str):
            return self._vectors([texts])[0]
        return self._vectors(list(texts))

    @overload
    async def aembed(self, texts: str) -> list[float]: ...

    @overload
    async def aembed(self, texts: list[str] | tuple[str, ...]) -> list[list[float]]: ...

    async def aembed(
        self, texts: str | list[str] | tuple[str, ...]
    ) -> list[float] | list[list[float]]:
        """As ``embed``, in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.embed, texts)

    def _vectors(self, texts: list[str]) -> list[list[float]]:
        if self._many is not None:
            vectors: list[list[float]] = self._many.embed(texts).tolist()
            return vectors
        assert self._one is not None
        return [list(self._one.embed(text)) for text in texts]
