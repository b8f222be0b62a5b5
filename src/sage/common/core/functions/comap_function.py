"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import CoMapFunction

__all__ = ["CoMapFunction"]
