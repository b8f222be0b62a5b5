"""The tutorial's path to `sage.inference.embeddings`."""

from sage.inference.embeddings import EmbeddingClientAdapter, EmbeddingFactory

__all__ = ["EmbeddingClientAdapter", "EmbeddingFactory"]
