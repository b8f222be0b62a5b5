"""The classes that users' operators derive from."""

from sage.dataflow.functions.aggregate import AggregateFunction
from sage.dataflow.functions.base import Function
from sage.dataflow.functions.edges import BatchFunction, SinkFunction, SourceFunction
from sage.dataflow.functions.transform import (
    CoMapFunction,
    FilterFunction,
    FlatMapFunction,
    JoinFunction,
    KeyByFunction,
    MapFunction,
    ProcessFunction,
)

__all__ = [
    "AggregateFunction",
    "BatchFunction",
    "CoMapFunction",
    "FilterFunction",
    "FlatMapFunction",
    "Function",
    "JoinFunction",
    "KeyByFunction",
    "MapFunction",
    "ProcessFunction",
    "SinkFunction",
    "SourceFunction",
]
