"""What a cluster's nodes have free, as placement counts it."""

from __future__ import annotations

from sage.cluster.connect import RayCluster
from sage.inference.engines.remote.placement import Room


def rooms(cluster: RayCluster) -> list[Room]:
    """Return the free CPUs and GPUs of each living node."""
    return [Room(node.hostname, node.free_cpus, node.free_gpus) for node in cluster.nodes()]


def empty_rooms(cluster: RayCluster) -> list[Room]:
    """Return what each living node has when nobody holds any of it."""
    return [Room(node.hostname, node.cpus, node.gpus) for node in cluster.nodes()]
