"""Jobs on a Ray cluster: each replica of each stage is an actor."""

from __future__ import annotations

from sage.dataflow.runtime.ray.backend import RayBackend
from sage.dataflow.runtime.ray.cluster import RayCluster
from sage.dataflow.runtime.ray.config import RayConfig

__all__ = ["RayBackend", "RayCluster", "RayConfig"]
