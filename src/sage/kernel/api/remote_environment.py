"""The tutorial's path to `sage.dataflow.remote_environment`."""

from sage.dataflow.remote_environment import RemoteEnvironment

__all__ = ["RemoteEnvironment"]
