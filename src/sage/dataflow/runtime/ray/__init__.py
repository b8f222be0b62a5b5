"""Jobs on a Ray cluster: each replica of each stage is an actor."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.dataflow.runtime.ray.backend import RayBackend
    from sage.dataflow.runtime.ray.cluster import JobCluster
    from sage.dataflow.runtime.ray.config import RayJobConfig

__all__ = ["JobCluster", "RayBackend", "RayJobConfig"]

# Actors import this package too, and need none of these.
_HOMES = {"RayBackend": "backend", "JobCluster": "cluster", "RayJobConfig": "config"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
