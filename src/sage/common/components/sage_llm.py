from sage.inference.client import InferenceResult, UnifiedInferenceClient
from sage.inference.embeddings import EmbeddingClientAdapter

__all__ = ["EmbeddingClientAdapter", "InferenceResult", "UnifiedInferenceClient"]
