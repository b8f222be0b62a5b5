"""Connecting to a real Ray cluster, and what goes wrong in one line."""

from __future__ import annotations

import http.server
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest

from sage.cluster.config import RayConfig
from sage.cluster.connect import RayCluster
from sage.errors import ClusterError, ConfigError, NoClusterError, ResourceError
from tests.ray_nodes import add_node, remove_node
from tests.support import running, wait_until


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers no request, and logs none."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        return


LOCAL = """
import signal
from sage.cluster.config import RayConfig
from sage.cluster.connect import RayCluster
with RayCluster(RayConfig("local", num_cpus=1, object_store_memory=80 << 20)) as cluster:
    (node,) = cluster.nodes()
    print(node.address, node.cpus / 2, flush=True)
    signal.pause()
"""


def test_what_the_cluster_has_is_known_by_node(ray_cluster: Any) -> None:
    """Totals and what is free, and the connection ends with the block."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    with RayCluster(RayConfig(address=ray_cluster.address)) as connection:
        assert connection.resources()["CPU"] == 2
        assert [(node.cpus, node.gpus) for node in connection.nodes()] == [(1, 1), (1, 1)]
        # What an earlier test's actors held is free when Ray has noticed their end.
        wait_until(lambda: [node.free_cpus for node in connection.nodes()] == [1, 1])
        assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.is_initialized()


def test_more_than_there_is_names_both_numbers(ray_cluster: Any) -> None:
    """At once, and no connection is left."""
    import ray

    config = RayConfig(address=ray_cluster.address, num_cpus=32, num_gpus=4.5)
    with pytest.raises(ResourceError) as caught:
        RayCluster(config).connect()
    assert "32 CPUs are asked for" in str(caught.value)
    assert f"the Ray cluster at {ray_cluster.address} has 2" in str(caught.value)
    assert "4.5 GPUs are asked for" in str(caught.value)
    assert not ray.is_initialized()


def test_waiting_says_what_for_and_ends_when_it_is_there(ray_cluster: Any) -> None:
    """The reason is told once; a node that joins ends the wait."""
    told: list[str] = []
    added: list[Any] = []

    def join(seconds: float) -> None:
        if not added:
            added.append(add_node(ray_cluster, 3))

    config = RayConfig(address=ray_cluster.address, num_cpus=4, wait=True)
    try:
        with RayCluster(config, on_wait=told.append, pause=join) as connection:
            assert connection.resources()["CPU"] == 5
    finally:
        for node in added:
            remove_node(ray_cluster, node)
    assert len(told) == 1
    assert told[0].startswith("waiting: 4 CPUs are asked for")


def test_one_process_has_one_connection(ray_cluster: Any) -> None:
    """The same cluster is shared until the last one ends; another cluster is an error."""

    first = RayCluster(RayConfig(address=ray_cluster.address)).connect()
    with RayCluster(RayConfig()) as second:
        first.disconnect()
        assert second.resources()["CPU"] >= 2
        with pytest.raises(ClusterError, match="is connected to the Ray cluster at"):
            RayCluster(RayConfig(address="127.0.0.1:1")).connect()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'sage-stack\[ray\]'$"):
        RayCluster(RayConfig(address="local")).connect()


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_no_cluster_at_the_address(form: str) -> None:
    """Said at once, with the address and what to do."""
    with socket.socket() as held:  # bound, so that nobody else takes it, but not listened on
        held.bind(("127.0.0.1", 0))
        address = form.format(port=held.getsockname()[1])
        with pytest.raises(NoClusterError) as caught:
            RayCluster(RayConfig(address=address)).connect()
    assert str(caught.value) == (
        f"no Ray cluster answers at {address}: Connection refused; start one with "
        '`ray start --head`, or give the address "local"'
    )


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_another_server_at_the_address(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Said in one line; Ray itself says nothing on the terminal."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = form.format(port=server.server_port)
        with pytest.raises(NoClusterError) as caught:
            RayCluster(RayConfig(address=address)).connect()
    finally:
        server.shutdown()
        server.server_close()
    assert str(caught.value) == (
        f"no Ray cluster answers at {address}: what listens there is another server; start one "
        'with `ray start --head`, or give the address "local"'
    )
    assert capfd.readouterr() == ("", "")


def test_auto_with_a_head_on_loopback(ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Ray would look for on the address that others reach this machine by."""
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    with RayCluster(RayConfig()) as connection:
        assert connection.resources()["CPU"] >= 2
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(
            NoClusterError, match=f"no Ray cluster answers at {address}: Connection"
        ):
            RayCluster(RayConfig()).connect()


@pytest.mark.usefixtures("own_ray_folder")
def test_a_local_cluster_ends_with_its_process() -> None:
    """Also when that is killed outright; only this machine reaches the cluster meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", LOCAL], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "127.0.0.1 0.5\n"
        family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert len(family) >= 3
        process.kill()
    wait_until(lambda: running(family) == [])
