"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import KeyByFunction

__all__ = ["KeyByFunction"]
