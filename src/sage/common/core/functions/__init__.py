"""The tutorial's path to `sage.dataflow.functions`."""

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

__all__ = [
    "AggregateFunction",
    "BatchFunction",
    "CoMapFunction",
    "FilterFunction",
    "FlatMapFunction",
    "JoinFunction",
    "KeyByFunction",
    "MapFunction",
    "ProcessFunction",
    "SinkFunction",
    "SourceFunction",
]
