from sage.inference.embeddings import EmbeddingClientAdapter, EmbeddingFactory

__all__ = ["EmbeddingClientAdapter", "EmbeddingFactory"]
