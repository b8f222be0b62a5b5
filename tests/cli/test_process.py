"""What a serving process asks of its system."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    """A process started with few open files allowed takes all that its system grants."""
    code = (
        "import resource; from sage.cli.process import allow_many_connections;"
        "allow_many_connections(); print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    shell = f"ulimit -Sn 256; ulimit -Hn 4096; exec {sys.executable} -c '{code}'"
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "(4096, 4096)"


def test_long_lived_objects_are_left_alone() -> None:
    """What was there before serving is frozen, and collections are rare after it."""
    code = (
        "import gc; from sage.cli.process import settle_collector;"
        "settle_collector(); print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] > 10_000)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "True True"
