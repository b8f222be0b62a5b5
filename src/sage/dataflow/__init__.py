"""Dataflow pipelines: a stream of operators over records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.dataflow.context import RuntimeContext
    from sage.dataflow.dead_letters import DeadLetter
    from sage.dataflow.environment import LocalEnvironment
    from sage.dataflow.functions import (
        BatchFunction,
        CoMapFunction,
        FilterFunction,
        FlatMapFunction,
        JoinFunction,
        KeyByFunction,
        MapFunction,
        SinkFunction,
        SourceFunction,
    )
    from sage.dataflow.job import JobHandle
    from sage.dataflow.result import JobResult, JobStatus, OperatorReport
    from sage.dataflow.retry import RetryPolicy
    from sage.dataflow.stream import Stream

_HOMES = {
    "BatchFunction": "sage.dataflow.functions",
    "CoMapFunction": "sage.dataflow.functions",
    "DeadLetter": "sage.dataflow.dead_letters",
    "FilterFunction": "sage.dataflow.functions",
    "FlatMapFunction": "sage.dataflow.functions",
    "JobHandle": "sage.dataflow.job",
    "JobResult": "sage.dataflow.result",
    "JobStatus": "sage.dataflow.result",
    "JoinFunction": "sage.dataflow.functions",
    "KeyByFunction": "sage.dataflow.functions",
    "LocalEnvironment": "sage.dataflow.environment",
    "MapFunction": "sage.dataflow.functions",
    "OperatorReport": "sage.dataflow.result",
    "RetryPolicy": "sage.dataflow.retry",
    "RuntimeContext": "sage.dataflow.context",
    "SinkFunction": "sage.dataflow.functions",
    "SourceFunction": "sage.dataflow.functions",
    "Stream": "sage.dataflow.stream",
}

__all__ = [
    "BatchFunction",
    "CoMapFunction",
    "DeadLetter",
    "FilterFunction",
    "FlatMapFunction",
    "JobHandle",
    "JobResult",
    "JobStatus",
    "JoinFunction",
    "KeyByFunction",
    "LocalEnvironment",
    "MapFunction",
    "OperatorReport",
    "RetryPolicy",
    "RuntimeContext",
    "SinkFunction",
    "SourceFunction",
    "Stream",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
