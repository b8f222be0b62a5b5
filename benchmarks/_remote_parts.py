"""Operators of the benchmark on a cluster: a module of their own, which the actors import."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from sage.dataflow import MapFunction, SinkFunction, SourceFunction


class Records(SourceFunction):
    """Gives records of a size, each an object of its own."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self._left = count
        self._body = b"x" * (size - 8)

    def execute(self) -> bytes:
        """Return the next record."""
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._body + b"%8d" % self._left


class Times(SinkFunction):
    """Writes when its first record came and when its last, in seconds since the epoch."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)
        self._first = 0.0

    def execute(self, _: object) -> None:
        """Take a record."""
        self._first = self._first or time.time()

    def close(self) -> None:
        """Write the times."""
        self._path.write_text(f"{self._first} {time.time()}")


async def call(record: bytes) -> bytes:
    """Take 50 ms, as a language model may."""
    await asyncio.sleep(0.05)
    return record


def same(record: bytes) -> bytes:
    """Return the record."""
    return record


def vectors(texts: list[str], model: Any) -> list[Any]:
    """Return a vector for each text."""
    return list(model.embed(texts))


def load_model() -> Any:
    """Load the packaged embedding model."""
    from sage.inference.embeddings import EmbeddingFactory

    return EmbeddingFactory.create("onnx").embedder


class Embed(MapFunction):
    """Embeds batches of texts, in a pipeline."""

    def open(self) -> None:
        """Load the model."""
        self._model = load_model()

    def execute(self, data: list[str]) -> list[Any]:
        """Return a vector for each text."""
        return vectors(data, self._model)


class EmbedRows:
    """Embeds batches of rows, in Ray Data."""

    def __init__(self) -> None:
        self._model = load_model()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with its vectors."""
        import numpy as np

        return {"vector": np.array(vectors(list(batch["text"]), self._model))}
