"""The tutorial's path to `sage.dataflow.environment`."""

from sage.dataflow.environment import LocalEnvironment

__all__ = ["LocalEnvironment"]
