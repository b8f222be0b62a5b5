"""A Ray cluster of several raylets on this machine, for tests."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NODE = {
    "node_ip_address": "127.0.0.1",
    "object_store_memory": 80 << 20,
    "include_dashboard": False,
}


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Make a folder for Ray's files that is gone afterwards, whatever of Ray was killed in it."""
    # Not pytest's own folder: the path of a socket is 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="sage-ray-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ray_nodes(
    *nodes: tuple[int, int], models: Path, slow_ms: int = 1000, modules: Sequence[Path] = ()
) -> Iterator[Any]:
    """Run a head and further nodes; yield Ray's own test cluster.

    Ports are any free ones, files lie in a temporary folder, nothing is reported anywhere, and a
    node that is lost is noticed within seconds.

    Args:
        nodes: how many CPUs and GPUs each has; Ray hands out GPUs that are not there, too.
        models: where packaged models are.
        slow_ms: milliseconds that a living node may take to answer.
        modules: folders in which its workers find modules.
    """
    from ray.cluster_utils import Cluster

    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        # Ray's helper would make it the cluster that `auto` means to everybody on this machine.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_: None)
        patch.setattr("ray._common.utils.reset_ray_address", lambda *_: None)
        # Nor may its nodes take the tests' SIGTERM for theirs.
        patch.setattr("ray._private.utils.set_sigterm_handler", lambda *_: None)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("HOME", str(folder))
        patch.setenv("SAGE_HOME", str(folder / "sage"))
        patch.setenv("SAGE_MODELS_DIR", str(models))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Left at Ray's 15, actors get next to nothing beside anything else that this machine does.
        patch.setenv("RAY_worker_niceness", "0")
        if modules:
            patch.setenv("PYTHONPATH", os.pathsep.join(map(str, modules)))
        quick = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 300,
            "health_check_timeout_ms": slow_ms,
            "health_check_failure_threshold": 3,
        }
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **_NODE,
                "num_cpus": nodes[0][0],
                "num_gpus": nodes[0][1],
                "temp_dir": str(folder / "ray"),
                "_system_config": quick,
            },
        )
        try:
            for cpus, gpus in nodes[1:]:
                add_node(cluster, cpus, gpus)
            yield cluster
        finally:
            cluster.shutdown()


def listens(port: int) -> bool:
    """Say whether anything listens at a port of the loopback address."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def add_node(cluster: Any, cpus: int, gpus: int = 1) -> Any:
    """Add a node and wait until the cluster has it."""
    return cluster.add_node(**_NODE, num_cpus=cpus, num_gpus=gpus)


def remove_node(cluster: Any, node: Any) -> None:
    """Remove a node and wait until the cluster knows it: who comes next does not find it there."""
    cluster.remove_node(node)
    cluster.wait_for_nodes()
