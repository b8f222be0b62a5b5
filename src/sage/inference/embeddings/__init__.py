"""Vectors from text: embedders, the adapter users hold, and the embedding server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.inference.embeddings.adapter import EmbeddingClientAdapter, SingleTextEmbedder
    from sage.inference.embeddings.embedder import Embedder, EmbeddingUsage
    from sage.inference.embeddings.factory import EmbeddingFactory

__all__ = [
    "Embedder",
    "EmbeddingClientAdapter",
    "EmbeddingFactory",
    "EmbeddingUsage",
    "SingleTextEmbedder",
]

_HOMES = {
    "Embedder": "embedder",
    "EmbeddingClientAdapter": "adapter",
    "EmbeddingFactory": "factory",
    "EmbeddingUsage": "embedder",
    "SingleTextEmbedder": "adapter",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
