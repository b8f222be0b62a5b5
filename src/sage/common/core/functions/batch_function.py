"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import BatchFunction

__all__ = ["BatchFunction"]
