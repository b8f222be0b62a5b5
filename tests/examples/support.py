"""How the tests of examples run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TUTORIALS = Path(__file__).parents[2] / "examples" / "tutorials"


def run_tutorial(
    name: str, temporary: Path, *, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run it as a reader runs it, to its good end, with that folder for temporary files."""
    temporary.mkdir()
    run = subprocess.run(
        [sys.executable, str(_TUTORIALS / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert run.returncode == 0, run.stderr
    return run
