"""The tutorial's path to `sage.config.ports`."""

from sage.config.ports import SagePorts, is_wsl

__all__ = ["SagePorts", "is_wsl"]
