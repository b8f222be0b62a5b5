"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import SinkFunction

__all__ = ["SinkFunction"]
