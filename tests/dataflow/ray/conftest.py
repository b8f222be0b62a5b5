"""A Ray cluster of two raylets on this machine, for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.dataflow.runtime.ray import JobCluster, RayJobConfig

HERE = Path(__file__).parent
# Where actors find the modules of these tests: their functions go there by name.
MODULES = (HERE, HERE.parent)
STORE = 80_000_000


@pytest.fixture(scope="session")
def raylets() -> Iterator[Any]:
    """The cluster, with ports and a temporary folder of its own; gone at the end."""
    before = dict(os.environ)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets are short
    os.environ |= {
        "RAY_TMPDIR": folder,
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(map(str, MODULES)),
    }
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 4, "object_store_memory": STORE, "include_dashboard": False}
    # A dead node, whose port refuses, is noticed in two seconds; one that is only slow has longer.
    health = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 10_000,
        "health_check_failure_threshold": 3,
    }
    head = {**node, "num_gpus": 2, "_system_config": health}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ |= before
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_cluster(raylets: Any) -> Iterator[JobCluster]:
    """A connection to it, which other modules' clusters must not find open."""
    with JobCluster(RayJobConfig(address=raylets.address)) as connected:
        yield connected
