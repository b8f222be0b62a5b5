"""``sage llm serve --on ray`` as a person types it, with Ray started for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import running, wait_until

SAGE = str(Path(sys.executable).parent / "sage")


def sage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAGE, *arguments], capture_output=True, text=True, check=False, timeout=90
    )


def _status() -> tuple[dict[str, Any], list[int]]:
    """Return what is served, and the pids of the one engine and of its actor."""
    report = json.loads(sage("llm", "status", "--json").stdout)
    (instance,) = report["instances"]
    return report, [instance["pid"], psutil.Process(instance["pid"]).ppid()]


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_the_life_of_a_stack_on_ray(ray_cluster: Any) -> None:
    """Serve, status, logs and restart as on one machine; kill -9 of the stack leaves no engine."""
    where = ("--on", "ray", "--ray-address", ray_cluster.address, "--cpus", "0.1")
    started = sage("llm", "serve", *where, "--no-embedding", "--gateway-port", "0", "--background")
    assert started.returncode == 0, started.stderr
    report, pids = _status()
    assert report["healthy"]
    node = report["instances"][0]["node"]
    assert f"llama.cpp on {node} (127.0.0.1)" in sage("llm", "status").stdout
    assert "model loaded" in sage("llm", "logs", "llm-1").stdout

    assert sage("llm", "restart").returncode == 0
    assert running(pids) == []
    again, pids = _status()
    assert again["gateway_url"] == report["gateway_url"]

    os.kill(again["pid"], signal.SIGKILL)
    wait_until(lambda: running(pids) == [])
    assert sage("llm", "stop").stdout == "nothing is running\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cpus", "2", "--wait"], 2, "--cpus, --wait are for engines on a cluster; add --on ray"),
        (["--on", "ray", "--ray-address", "lokal"], 2, "did you mean local"),
        (["--on", "ray", "--ray-address", "127.0.0.1:1"], 7, "no Ray cluster answers at"),
        (["--on", "ray", "--cpus", "0"], 2, "--cpus must be above 0, not 0"),
        (["--on", "ray", "--gpus", "1.5"], 2, "--gpus above 1 must be a whole number"),
        (["--on", "ray", "--port", "8001"], 2, "--port and --embedding-port are for engines on"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, message: str) -> None:
    """Named, with what to do, and nothing is left behind."""
    failed = sage("llm", "serve", "--gateway-port", "0", *arguments)
    assert failed.returncode == code
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
