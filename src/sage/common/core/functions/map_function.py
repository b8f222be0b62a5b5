"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import MapFunction

__all__ = ["MapFunction"]
