"""SAGE: dataflow pipelines, an inference control plane, and a benchmark for LLM work.

The names below are loaded when they are first used, so that importing the package costs next to
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.config.ports import SagePorts
    from sage.dataflow import (
        BatchFunction,
        FilterFunction,
        FlatMapFunction,
        JobResult,
        LocalEnvironment,
        MapFunction,
        SinkFunction,
        SourceFunction,
    )
    from sage.errors import SageError
    from sage.inference.client import InferenceResult, UnifiedInferenceClient
    from sage.inference.embeddings import EmbeddingClientAdapter, EmbeddingFactory
    from sage.inference.engines.options import EngineOptions
    from sage.inference.engines.plan import StackConfig
    from sage.inference.engines.stack import Stack, running_stack

_HOMES = {
    "BatchFunction": "sage.dataflow",
    "EmbeddingClientAdapter": "sage.inference.embeddings",
    "EmbeddingFactory": "sage.inference.embeddings",
    "EngineOptions": "sage.inference.engines.options",
    "FilterFunction": "sage.dataflow",
    "FlatMapFunction": "sage.dataflow",
    "InferenceResult": "sage.inference.client",
    "JobResult": "sage.dataflow",
    "LocalEnvironment": "sage.dataflow",
    "MapFunction": "sage.dataflow",
    "SageError": "sage.errors",
    "SagePorts": "sage.config.ports",
    "SinkFunction": "sage.dataflow",
    "SourceFunction": "sage.dataflow",
    "Stack": "sage.inference.engines.stack",
    "StackConfig": "sage.inference.engines.plan",
    "UnifiedInferenceClient": "sage.inference.client",
    "running_stack": "sage.inference.engines.stack",
}

__all__ = [
    "BatchFunction",
    "EmbeddingClientAdapter",
    "EmbeddingFactory",
    "EngineOptions",
    "FilterFunction",
    "FlatMapFunction",
    "InferenceResult",
    "JobResult",
    "LocalEnvironment",
    "MapFunction",
    "SageError",
    "SagePorts",
    "SinkFunction",
    "SourceFunction",
    "Stack",
    "StackConfig",
    "UnifiedInferenceClient",
    "running_stack",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home at first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("sage-stack")
    if name not in _HOMES:
        raise AttributeError(f"module 'sage' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*__all__, "__version__"])
