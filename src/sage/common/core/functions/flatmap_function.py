"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import FlatMapFunction

__all__ = ["FlatMapFunction"]
