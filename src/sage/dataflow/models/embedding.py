"""The operator behind ``embed``: each record's text becomes a vector, many to a request."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from sage.dataflow.models.gathering import Gatherer, Gathering
from sage.dataflow.models.llm import estimate_messages
from sage.dataflow.models.operator import ModelOperator, ModelSettings
from sage.dataflow.models.prompts import field_of
from sage.errors import ConfigError, UpstreamError, shorten

Vector: TypeAlias = list[float]
Field: TypeAlias = str | Callable[[Any], str] | None


class Embedded(NamedTuple):
    """What ``embed`` emits for a record that is not a dict.

    Attributes:
        record: as it came.
        vector: of its text.
    """

    record: Any
    vector: Vector


class EmbeddingOperator(ModelOperator):
    """Turns the text of each record into a vector.

    Args:
        settings: how the model is asked.
        field: where the text is: a dict's field, a function of the record, or None for a record
            that is a text.
        into: the field of a dict that the vector is put in.
        batches: how texts are put together.
    """

    def __init__(
        self, settings: ModelSettings, field: Field, into: str, batches: Gathering
    ) -> None:
        super().__init__("embedding", settings)
        self._field = field
        self._into = into
        self._gatherer = Gatherer(
            self._embed, batches, shared=lambda: self._account.count("shared")
        )

    async def execute(self, record: Any) -> Any:
        """Return a dict with its vector, or any other record as an `Embedded`."""
        text = self._text(record)
        key = self.key(text)
        kept = None if key is None else self.kept(key)
        if kept is not None:
            self._account.count("cached")
            vector = unpack(kept)
        else:
            # Those who share a text must not share a list that one of them may change.
            vector = list(await self._gatherer.get(text))
        if isinstance(record, dict):
            return {**record, self._into: vector}
        return Embedded(record, vector)

    async def close(self) -> None:
        """Cancel what is under way, close the cache and give up the client."""
        try:
            await self._gatherer.cancel()
        finally:
            await super().close()

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        estimate = sum(map(estimate_messages, texts))
        self._account.count("texts", len(texts))
        result = await self.ask(estimate, "aembed", list(texts))
        vectors: list[Vector] = result.vectors
        if len(vectors) != len(texts):
            raise UpstreamError(f"embed(): sent {len(texts)} texts, got {len(vectors)} vectors")
        for text, vector in zip(texts, vectors, strict=True):
            key = self.key(text)
            if key is not None:
                self.keep(key, pack(vector))
        return vectors

    def _text(self, record: Any) -> str:
        if callable(self._field):
            text = self._field(record)
        elif self._field is not None:
            text = field_of(record, self._field, "embed(field=…)")
        else:
            text = record
        if not isinstance(text, str):
            raise ConfigError(
                f"embed(): {shorten(text)} is not a text; give field= the name of a dict's field, "
                "or a function that returns a record's text"
            )
        return text


def pack(vector: Sequence[float]) -> bytes:
    """Return a vector as float32 bytes, in this machine's order."""
    return array("f", vector).tobytes()


def unpack(packed: bytes) -> Vector:
    """Return the vector that was packed."""
    return array("f", packed).tolist()
