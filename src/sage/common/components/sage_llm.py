from sage.inference.client import InferenceResult, UnifiedInferenceClient
from sage.inference.embeddings import EmbeddingClientAdapter
from sage.inference.gateway import BackendInstanceConfig, UnifiedAPIServer, UnifiedServerConfig
from sage.inference.scheduling.policy_types import SchedulingPolicyType
from sage.inference.service import ControlPlaneVLLMService

__all__ = [
    "BackendInstanceConfig",
    "ControlPlaneVLLMService",
    "EmbeddingClientAdapter",
    "InferenceResult",
    "SchedulingPolicyType",
    "UnifiedAPIServer",
    "UnifiedInferenceClient",
    "UnifiedServerConfig",
]
