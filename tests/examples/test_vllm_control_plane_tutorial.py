"""The control plane tutorial, run as a reader runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from .support import run_tutorial


@pytest.mark.engines
@pytest.mark.timeout(150)
def test_it_runs_and_leaves_nothing_behind(isolated_home: Path, tmp_path: Path) -> None:
    """The lines its readers look for, metrics that move, both instances at work, no traces."""
    temporary = tmp_path / "t"
    run = run_tutorial("vllm_control_plane_tutorial.py", temporary, timeout_s=140)
    lines = run.stdout.splitlines()
    for line in (
        "Demo 1: Basic Usage",
        "Registered 1 instances",
        "Demo 2: Multi-Instance Load Balancing",
        "Registered 2 instances",
    ):
        assert line in lines
    metrics = [json.loads(line[9:]) for line in lines if line.startswith("Metrics: ")]
    assert [m["total_requests"] for m in metrics] == [0, 1, 6]
    assert [m["completed_requests"] for m in metrics] == [0, 1, 6]
    assert '"total_requests": 0' in run.stdout
    shares = re.findall(r"(llm-\d) answered (\d) of 6", run.stdout)
    assert {name for name, _ in shares} == {"llm-1", "llm-2"}
    assert list(temporary.iterdir()) == []
    assert not (isolated_home / "sage" / "state").exists()
    ports = {int(port) for port in re.findall(r"http://localhost:(\d+)", run.stdout)}
    assert len(ports) == 2
    listening = {c.laddr.port for c in psutil.net_connections() if c.status == "LISTEN"}
    assert not ports & listening
