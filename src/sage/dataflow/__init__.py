"""Dataflow pipelines: a stream of operators over records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.dataflow.content_cache import CacheStats, ContentCache
    from sage.dataflow.context import RuntimeContext
    from sage.dataflow.dead_letters import DeadLetter
    from sage.dataflow.environment import LocalEnvironment
    from sage.dataflow.files.source import FileOffset, FileRecord
    from sage.dataflow.functions import (
        AggregateFunction,
        BatchFunction,
        CoMapFunction,
        FilterFunction,
        FlatMapFunction,
        JoinFunction,
        KeyByFunction,
        MapFunction,
        ProcessFunction,
        SinkFunction,
        SourceFunction,
    )
    from sage.dataflow.job import JobHandle
    from sage.dataflow.jobs.handle import RemoteJob
    from sage.dataflow.kafka.record import KafkaRecord
    from sage.dataflow.kafka.sink import KafkaSink
    from sage.dataflow.models.embedding import Embedded
    from sage.dataflow.models.llm import Answered
    from sage.dataflow.models.retry import ModelRetry
    from sage.dataflow.models.usage import Price, Usage
    from sage.dataflow.needs import Resources
    from sage.dataflow.remote_environment import RemoteEnvironment
    from sage.dataflow.result import JobResult, JobStatus, OperatorReport
    from sage.dataflow.retry import RetryPolicy
    from sage.dataflow.stream import Stream
    from sage.dataflow.timers import TimerFired
    from sage.dataflow.windows import (
        SessionWindows,
        SlidingWindows,
        TumblingWindows,
        WindowResult,
    )
    from sage.errors import LateRecordError

_HOMES = {
    "AggregateFunction": "sage.dataflow.functions",
    "Answered": "sage.dataflow.models.llm",
    "BatchFunction": "sage.dataflow.functions",
    "CacheStats": "sage.dataflow.content_cache",
    "CoMapFunction": "sage.dataflow.functions",
    "ContentCache": "sage.dataflow.content_cache",
    "DeadLetter": "sage.dataflow.dead_letters",
    "Embedded": "sage.dataflow.models.embedding",
    "FileOffset": "sage.dataflow.files.source",
    "FileRecord": "sage.dataflow.files.source",
    "FilterFunction": "sage.dataflow.functions",
    "FlatMapFunction": "sage.dataflow.functions",
    "JobHandle": "sage.dataflow.job",
    "JobResult": "sage.dataflow.result",
    "JobStatus": "sage.dataflow.result",
    "JoinFunction": "sage.dataflow.functions",
    "KeyByFunction": "sage.dataflow.functions",
    "KafkaRecord": "sage.dataflow.kafka.record",
    "KafkaSink": "sage.dataflow.kafka.sink",
    "LateRecordError": "sage.errors",
    "LocalEnvironment": "sage.dataflow.environment",
    "MapFunction": "sage.dataflow.functions",
    "ModelRetry": "sage.dataflow.models.retry",
    "OperatorReport": "sage.dataflow.result",
    "RemoteEnvironment": "sage.dataflow.remote_environment",
    "RemoteJob": "sage.dataflow.jobs.handle",
    "Resources": "sage.dataflow.needs",
    "Price": "sage.dataflow.models.usage",
    "ProcessFunction": "sage.dataflow.functions",
    "RetryPolicy": "sage.dataflow.retry",
    "RuntimeContext": "sage.dataflow.context",
    "SessionWindows": "sage.dataflow.windows",
    "SinkFunction": "sage.dataflow.functions",
    "SlidingWindows": "sage.dataflow.windows",
    "SourceFunction": "sage.dataflow.functions",
    "Stream": "sage.dataflow.stream",
    "TimerFired": "sage.dataflow.timers",
    "TumblingWindows": "sage.dataflow.windows",
    "Usage": "sage.dataflow.models.usage",
    "WindowResult": "sage.dataflow.windows",
}

__all__ = [
    "AggregateFunction",
    "Answered",
    "BatchFunction",
    "CacheStats",
    "CoMapFunction",
    "ContentCache",
    "DeadLetter",
    "Embedded",
    "FileOffset",
    "FileRecord",
    "FilterFunction",
    "FlatMapFunction",
    "JobHandle",
    "JobResult",
    "JobStatus",
    "JoinFunction",
    "KafkaRecord",
    "KafkaSink",
    "KeyByFunction",
    "LateRecordError",
    "LocalEnvironment",
    "MapFunction",
    "ModelRetry",
    "OperatorReport",
    "Price",
    "ProcessFunction",
    "RemoteEnvironment",
    "RemoteJob",
    "Resources",
    "RetryPolicy",
    "RuntimeContext",
    "SessionWindows",
    "SinkFunction",
    "SlidingWindows",
    "SourceFunction",
    "Stream",
    "TimerFired",
    "TumblingWindows",
    "Usage",
    "WindowResult",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
