"""``sage llm serve --on ray`` as a person types it, with Ray started for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import running, wait_until

SAGE = str(Path(sys.executable).parent / "sage")
SERVE = ("llm", "serve", "--on", "ray", "--ray-address", "local", "--gateway-port", "0")


def sage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAGE, *arguments], capture_output=True, text=True, check=False, timeout=90
    )


def _family(pid: int) -> list[int]:
    """Return a process and everything that it started."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


@pytest.mark.engines
def test_serve_status_logs_stop_on_ray() -> None:
    """As on one machine; the end leaves neither engines nor Ray."""
    started = sage(*SERVE, "--no-embedding", "--background")
    assert started.returncode == 0, started.stderr
    report = json.loads(sage("llm", "status", "--json").stdout)
    (instance,) = report["instances"]
    assert instance["node"]
    assert instance["health"] == "healthy"
    assert f"llama.cpp on {instance['node']}" in sage("llm", "status").stdout
    assert "model loaded" in sage("llm", "logs", "llm-1").stdout
    family = _family(report["pid"])
    assert instance["pid"] in family
    assert sage("llm", "stop").stdout == "stopped 2 processes\n"
    wait_until(lambda: running(family) == [])


@pytest.mark.engines
def test_a_stack_on_ray_killed_outright_leaves_nothing() -> None:
    """kill -9 of the process that serves: Ray ends the actors, and ends itself."""
    assert sage(*SERVE, "--no-embedding", "--background").returncode == 0
    report = json.loads(sage("llm", "status", "--json").stdout)
    family = _family(report["pid"])
    os.kill(report["pid"], signal.SIGKILL)
    wait_until(lambda: running(family) == [])
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
