"""What tests of the benchmark share."""

from __future__ import annotations

from typing import Any

import pytest

from sage.benchmark.cli import cli
from sage.cli.run import run_cli


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command line and gives its exit code."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["sage-cp-bench", *arguments])
        return run_cli(cli, "sage-cp-bench")

    return run
