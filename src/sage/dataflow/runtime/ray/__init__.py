"""Jobs on a Ray cluster: each replica of each stage is an actor."""

from __future__ import annotations

from sage.dataflow.runtime.ray.backend import RayBackend
from sage.dataflow.runtime.ray.cluster import JobCluster
from sage.dataflow.runtime.ray.config import RayJobConfig

__all__ = ["JobCluster", "RayBackend", "RayJobConfig"]
