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
        AggregateFunction,
        BatchFunction,
        CoMapFunction,
        DeadLetter,
        FilterFunction,
        FlatMapFunction,
        JobHandle,
        JobResult,
        JobStatus,
        JoinFunction,
        KeyByFunction,
        LocalEnvironment,
        MapFunction,
        ProcessFunction,
        RemoteEnvironment,
        RetryPolicy,
        RuntimeContext,
        SessionWindows,
        SinkFunction,
        SlidingWindows,
        SourceFunction,
        TumblingWindows,
        WindowResult,
    )
    from sage.errors import (
        GraphError,
        JobCancelledError,
        OperatorError,
        OperatorTimeoutError,
        SageError,
    )
    from sage.inference.client import InferenceResult, UnifiedInferenceClient
    from sage.inference.embeddings import EmbeddingClientAdapter, EmbeddingFactory
    from sage.inference.engines.options import EngineOptions
    from sage.inference.engines.plan import StackConfig
    from sage.inference.engines.stack import Stack, running_stack

_HOMES = {
    "AggregateFunction": "sage.dataflow",
    "BatchFunction": "sage.dataflow",
    "CoMapFunction": "sage.dataflow",
    "DeadLetter": "sage.dataflow",
    "EmbeddingClientAdapter": "sage.inference.embeddings",
    "EmbeddingFactory": "sage.inference.embeddings",
    "EngineOptions": "sage.inference.engines.options",
    "FilterFunction": "sage.dataflow",
    "FlatMapFunction": "sage.dataflow",
    "GraphError": "sage.errors",
    "InferenceResult": "sage.inference.client",
    "JobCancelledError": "sage.errors",
    "JobHandle": "sage.dataflow",
    "JobResult": "sage.dataflow",
    "JobStatus": "sage.dataflow",
    "JoinFunction": "sage.dataflow",
    "KeyByFunction": "sage.dataflow",
    "LocalEnvironment": "sage.dataflow",
    "MapFunction": "sage.dataflow",
    "OperatorError": "sage.errors",
    "OperatorTimeoutError": "sage.errors",
    "ProcessFunction": "sage.dataflow",
    "RemoteEnvironment": "sage.dataflow",
    "RetryPolicy": "sage.dataflow",
    "RuntimeContext": "sage.dataflow",
    "SageError": "sage.errors",
    "SagePorts": "sage.config.ports",
    "SessionWindows": "sage.dataflow",
    "SinkFunction": "sage.dataflow",
    "SlidingWindows": "sage.dataflow",
    "SourceFunction": "sage.dataflow",
    "Stack": "sage.inference.engines.stack",
    "StackConfig": "sage.inference.engines.plan",
    "TumblingWindows": "sage.dataflow",
    "UnifiedInferenceClient": "sage.inference.client",
    "WindowResult": "sage.dataflow",
    "running_stack": "sage.inference.engines.stack",
}

__all__ = [
    "AggregateFunction",
    "BatchFunction",
    "CoMapFunction",
    "DeadLetter",
    "EmbeddingClientAdapter",
    "EmbeddingFactory",
    "EngineOptions",
    "FilterFunction",
    "FlatMapFunction",
    "GraphError",
    "InferenceResult",
    "JobCancelledError",
    "JobHandle",
    "JobResult",
    "JobStatus",
    "JoinFunction",
    "KeyByFunction",
    "LocalEnvironment",
    "MapFunction",
    "OperatorError",
    "OperatorTimeoutError",
    "ProcessFunction",
    "RemoteEnvironment",
    "RetryPolicy",
    "RuntimeContext",
    "SageError",
    "SagePorts",
    "SessionWindows",
    "SinkFunction",
    "SlidingWindows",
    "SourceFunction",
    "Stack",
    "StackConfig",
    "TumblingWindows",
    "UnifiedInferenceClient",
    "WindowResult",
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
