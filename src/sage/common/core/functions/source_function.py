"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import SourceFunction

__all__ = ["SourceFunction"]
