"""The tutorial's path to `sage.dataflow.functions`."""

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

__all__ = [
    "BatchFunction",
    "CoMapFunction",
    "FilterFunction",
    "FlatMapFunction",
    "JoinFunction",
    "KeyByFunction",
    "MapFunction",
    "SinkFunction",
    "SourceFunction",
]
