"""A head as `ray start` makes it, which asks for a token and keeps to the loopback address."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.ray_nodes import listens
from tests.support import unused_port, wait_until

TOKEN = secrets.token_hex(32)
CONNECT = """
import sys
from sage.cluster.config import RayConfig
from sage.cluster.connect import RayCluster
from sage.errors import SageError
try:
    with RayCluster(RayConfig(sys.argv[1], num_cpus=1)) as cluster:
        print("connected to", *(f"{node.cpus:g} of {node.cpus:g} CPUs" for node in cluster.nodes()))
except SageError as error:
    print(type(error).__name__, error)
"""

RUN = """
import sys
sys.path.insert(0, sys.argv[2])
from ray_jobs import RayPipeline
from sage.dataflow.runtime.ray import JobCluster, RayJobConfig
out = []
with JobCluster(RayJobConfig(sys.argv[1])) as cluster:
    env = RayPipeline(cluster)
    keyed = env.from_collection(range(1000)).keyby(lambda number: number % 7)
    keyed.map(lambda number: number * 2, parallelism=2, cpus=0.5).sink(out)
    result = env.run()
print(sorted(out) == list(range(0, 2000, 2)), result.records_in, result.records_out)
"""
PIPELINES = Path(__file__).parents[1] / "dataflow" / "ray"


@dataclass(frozen=True)
class Head:
    """A head and its client server, on ports of 127.0.0.1.

    Attributes:
        port: of the head.
        client_port: of its client server.
        folder: a temporary one, in which "home" is empty.
    """

    port: int
    client_port: int
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that finds it by "auto", and has no token."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        home, here = self.folder / "home", str(self.folder)
        return kept | {"HOME": str(home), "RAY_TMPDIR": here, "RAY_USAGE_STATS_ENABLED": "0"}

    def connect(self, address: str, script: str = CONNECT, **variables: str) -> tuple[str, str]:
        """Connect from a process of its own; return what it prints, and on standard error."""
        done = subprocess.run(
            [sys.executable, "-c", script, address, str(PIPELINES)],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        return done.stdout.strip(), done.stderr


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One for all; gone at the end."""
    # Not pytest's own folder: the path of a socket is 107 bytes at most.
    head = Head(unused_port(), unused_port(), Path(tempfile.mkdtemp(prefix="sage-ray-")))
    (head.folder / "home").mkdir()
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={head.port}", "--num-cpus=1"]
    command += [f"--ray-client-server-port={head.client_port}", "--include-dashboard=false"]
    command += ["--object-store-memory=80000000"]
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    # Or what the client server starts would look for the head elsewhere than on loopback.
    variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    with (head.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=head.environment | variables, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: listens(head.client_port), 60)
        yield head
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(family)
        shutil.rmtree(head.folder, ignore_errors=True)


@pytest.mark.parametrize("form", ["auto", "127.0.0.1:{0.port}", "ray://127.0.0.1:{0.client_port}"])
def test_with_its_token(head: Head, form: str) -> None:
    """By all forms of an address, the client server's among them."""
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    said, _ = head.connect(form.format(head), **variables)
    assert said == "connected to 1 of 1 CPUs"


def test_a_pipeline_by_the_client_server(head: Head) -> None:
    """A process that belongs to no node of the cluster drives a job, with all its records."""
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    said, _ = head.connect(f"ray://127.0.0.1:{head.client_port}", RUN, **variables)
    assert said == "True 1000 1000"


@pytest.mark.parametrize("form", ["127.0.0.1:{0.port}", "ray://127.0.0.1:{0.client_port}"])
def test_without_its_token(head: Head, form: str) -> None:
    """At once, in one line that says what to set; Ray itself says nothing."""
    address = form.format(head)
    where = "the cluster's token is taken from ~/.ray/auth_token or RAY_AUTH_TOKEN"
    assert head.connect(address, RAY_AUTH_TOKEN=TOKEN) == (
        f"ClusterError the Ray cluster at {address} asks for a token, and this process sends none; "
        f"set RAY_AUTH_MODE=token: {where}",
        "",
    )
    assert head.connect(address, RAY_AUTH_MODE="token") == (
        f"ClusterError RAY_AUTH_MODE is token, and there is none for the Ray cluster at {address}; "
        f"{where}",
        "",
    )
    other = secrets.token_hex(32)
    assert head.connect(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=other) == (
        f"ClusterError the Ray cluster at {address} has another token than this process; {where}",
        "",
    )


def test_one_port_for_the_other(head: Head) -> None:
    """The head's for its client server's, and the other way round."""
    said, errors = head.connect(f"127.0.0.1:{head.client_port}")
    assert f"a head's own port (is it a client server, ray://127.0.0.1:{head.client_port}?" in said
    assert errors == ""
    said, errors = head.connect(f"ray://127.0.0.1:{head.port}")
    assert "what listens there is no client server of Ray, whose port is 10001 unless" in said
    assert errors == ""
