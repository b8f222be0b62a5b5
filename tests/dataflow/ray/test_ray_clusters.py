"""Which cluster a job runs on, what it asks for, and the errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray_jobs import RayPipeline
from ray_parts import SeesGpus
from tests.ray_nodes import add_node, remove_node

from sage.dataflow.runtime.ray import JobCluster, RayJobConfig
from sage.dataflow.runtime.ray.orders import Versions
from sage.dataflow.runtime.ray.stage_actor import check_versions, versions
from sage.dataflow.sizes import size_text
from sage.errors import ClusterError, ConfigError, UnknownKeyError

CONNECT = """
import sys
from sage.dataflow.runtime.ray import JobCluster, RayJobConfig
from sage.errors import SageError
for address in sys.argv[1:]:
    try:
        with JobCluster(RayJobConfig(address=address)):
            print("connected")
    except SageError as error:
        print(type(error).__name__, error)
"""


def test_nothing_at_the_address(free_port: int) -> None:
    """A port where nobody answers is told in a line, at once, however Ray is reached."""
    addresses = [f"127.0.0.1:{free_port}", f"ray://127.0.0.1:{free_port}"]
    ran = subprocess.run(
        [sys.executable, "-c", CONNECT, *addresses],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    for line, address in zip(ran.stdout.splitlines(), addresses, strict=True):
        assert line.startswith(
            f"NoClusterError no Ray cluster answers at {address}: Connection refu"
        )


def test_more_than_the_cluster_has(ray_cluster: JobCluster) -> None:
    """The error has what is asked for and what there is, whoever asks."""
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(abs, cpus=3, parallelism=20).sink([])
    with pytest.raises(ClusterError, match="ask for 60 CPUs, 0 GPUs, and the cluster has 8 "):
        env.run()
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(abs, gpus=3).sink([])
    with pytest.raises(ClusterError, match="ask for 0 CPUs, 3 GPUs, and the cluster has 8 CPUs"):
        env.run()
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(abs, cpus=6).sink([])
    with pytest.raises(ClusterError, match="and no node has that: 4 CPUs"):
        env.run()


def test_a_node_that_comes_later(
    raylets: Any, ray_cluster: JobCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """With wait, a job whose operators fit no node begins when one comes that they fit."""
    with JobCluster(replace(ray_cluster.config, wait=True)) as cluster:
        env, out = RayPipeline(cluster), []  # type: ignore[var-annotated]
        env.from_collection([-1, 2]).map(abs, cpus=6).sink(out)
        job = env.start()
        assert "asks for 6 CPUs, 0 GPUs, and no node has that: 4 CPUs" in caplog.text
        assert not job.poll(0.5)
        node = add_node(raylets, 8, 0)
        try:
            job.wait(50)
        finally:
            job.cancel(10)
            remove_node(raylets, node)
    assert out == [1, 2]


def test_what_an_operator_knows_of_its_actor(ray_cluster: JobCluster) -> None:
    """Operators of one actor have GPUs of their own; they share its services; counts come home."""
    env, out = RayPipeline(ray_cluster), []  # type: ignore[var-annotated]
    env.register_service("pid", os.getpid)
    numbers = env.from_collection([1, 2], name="numbers")
    numbers.map(SeesGpus, gpus=1, name="first").map(SeesGpus, gpus=0.5).sink(out)
    result = env.run()
    pid = out[0][-1]
    assert pid != os.getpid()
    assert out == [((number, ("cuda:0",), 2, pid), ("cuda:1",), 2, pid) for number in (1, 2)]
    assert result.operator("first").metrics == {"seen": 2}
    assert result.operator("numbers").share == 1.0


SCRIPT = """
from dataclasses import dataclass
import psutil
from sage.dataflow.runtime.ray import JobCluster, RayJobConfig
from ray_jobs import RayPipeline

@dataclass
class Sale:
    item: str
    price: int

def total(left, right):
    return Sale(left.item, left.price + right.price)

with JobCluster(RayJobConfig(address="local", num_cpus=2)) as cluster:
    env, out = RayPipeline(cluster, {"checkpoint": {"dir": "kept", "interval": 0.1}}), []
    sales = env.from_source(lambda: [Sale("tea", 1), Sale("nuts", 2)] * 4 + [Sale("nuts", 2)])
    sales.keyby(lambda sale: sale.item).reduce(total, emit="end").sink(out)
    result = env.run()
    print(sorted((sale.item, sale.price) for sale in out), result.checkpoints > 0)
    started = psutil.Process().children(recursive=True)
print(len(started) > 0, psutil.wait_procs(started, 15)[1])
"""


@pytest.mark.usefixtures("own_ray_folder")
def test_a_script_starts_ray_on_this_machine() -> None:
    """Its own classes travel as records and in checkpoints; Ray has ended when the script has."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert ran.stdout.splitlines()[-2:] == ["[('nuts', 10), ('tea', 4)] True", "True []"], (
        ran.stderr
    )


def test_another_cluster_beside_the_first(ray_cluster: JobCluster) -> None:
    """A process is of one cluster; that it is connected to another one is not passed over."""
    with pytest.raises(ClusterError, match="is connected to the Ray cluster at"):
        JobCluster(RayJobConfig(address="local")).connect()
    with JobCluster(RayJobConfig(address="auto")) as same:
        assert same.total() == ray_cluster.total()


def test_all_links_share_the_object_store(ray_cluster: JobCluster) -> None:
    """Few links have what the config says; many share half of the store, 160 MiB here."""
    assert ray_cluster.window(1) == 64_000_000
    assert ray_cluster.window(100) == (160 << 20) // 200
    assert ray_cluster.window(100_000) == 200_000


def test_another_version_is_refused() -> None:
    """With both versions, of the package and of Python."""
    check_versions(versions())
    with pytest.raises(ClusterError, match=r"runs sage-stack .* by sage-stack 0.0.1 on Python 3.9"):
        check_versions(Versions("3.9", "0.0.1"))


def test_settings() -> None:
    """Beside the keys of every connection to Ray a job has some of its own, checked alike."""
    config = RayJobConfig.from_mapping({"address": "ray://head:10001", "bytes_in_flight": "2MB"})
    assert (config.where.host, config.where.port) == ("head", 10001)
    assert size_text(config.bytes_in_flight) == "2.0 MB"
    with pytest.raises(UnknownKeyError, match="did you mean 'start_timeout'"):
        RayJobConfig.from_mapping({"start_timeouts": 1})
    for key, value in {"address": "head", "start_timeout": 0, "bytes_in_flight": 0}.items():
        with pytest.raises(ConfigError, match=key):
            RayJobConfig.from_mapping({key: value})
    with pytest.raises(ConfigError, match="ray must be a mapping"):
        RayJobConfig.from_mapping([])  # type: ignore[arg-type]


def test_what_is_for_one_machine(ray_cluster: JobCluster) -> None:
    """An environment's workers and its limit of memory are refused."""
    for config, match in (({"workers": "inline"}, "workers"), ({"memory_limit": "1GB"}, "memory=")):
        env = RayPipeline(ray_cluster, config)
        env.from_collection([1]).sink([])
        with pytest.raises(ConfigError, match=match):
            env.run()
