"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import FilterFunction

__all__ = ["FilterFunction"]
