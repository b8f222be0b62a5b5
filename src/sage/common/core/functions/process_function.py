"""The tutorial's path to `sage.dataflow.functions`."""

from sage.dataflow.functions import ProcessFunction

__all__ = ["ProcessFunction"]
