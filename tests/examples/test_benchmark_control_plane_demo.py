"""The benchmark's demo, run as a reader runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .support import run_tutorial


@pytest.mark.engines
@pytest.mark.timeout(200)
def test_it_measures_and_leaves_nothing_behind(isolated_home: Path, tmp_path: Path) -> None:
    """The lines its readers look for, every request answered under both policies, no traces."""
    temporary = tmp_path / "t"
    run = run_tutorial("benchmark_control_plane_demo.py", temporary, timeout_s=190)
    lines = run.stdout.splitlines()
    for line in (
        "Demo 1: LLM Benchmark Configuration",
        "Demo 2: Hybrid Benchmark Configuration",
        "Demo 3: Scheduling Policies",
        "Demo 4: Request Load",
        "Demo 5: Measured Runs",
        "Demo 6: GPU Monitoring",
    ):
        assert line in lines
    assert lines.count("Configuration is valid.") == 2
    assert 'mode: "hybrid"' in lines
    assert any(line.split()[:1] == ["hybrid_slo"] for line in lines)
    answered = re.findall(r"  (\w+): (\d+) of 16 answered, \d+% in SLO", run.stdout)
    assert answered == [("fifo", "16"), ("hybrid_slo", "16")]
    # onnxruntime leaves this one as it is imported, and no setting of it prevents that.
    assert [path.name for path in temporary.iterdir() if path.name != ".ses"] == []
    assert not (isolated_home / "sage" / "state").exists()
