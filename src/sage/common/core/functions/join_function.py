"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import JoinFunction

__all__ = ["JoinFunction"]
