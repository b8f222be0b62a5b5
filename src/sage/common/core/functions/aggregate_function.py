"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import AggregateFunction

__all__ = ["AggregateFunction"]
