"""``sage-dev test``: how the suite is spread, what comes through, and what Ctrl-C leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sage.cli.dev import spread, usable_cores
from tests.documents import ROOT
from tests.spread import TOGETHER, group_of
from tests.support import wait_until

SAGE_DEV = str(Path(sys.executable).parent / "sage-dev")
PROJECT = """
[project]
name = "sage-stack"
"""
# pytest runs them with the project as their folder.
TESTS = """
from pathlib import Path
import time
import pytest

@pytest.fixture(scope="session")
def dear():
    yield
    time.sleep(0.6)
    Path("ended").touch()

def test_slow(dear):
    Path("begun").touch()
    time.sleep(60)

def test_fails():
    print("said before the failure")
    assert 1 + 1 == 3

def test_passes():
    pass
"""


# Without the plugins that the tests above have no use for.
SPREAD = [SAGE_DEV, "test", "-p", "xdist", "-n", "2"]


def bare() -> dict[str, str]:
    return {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with three tests."""
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def test_the_suite_is_spread_over_the_cores() -> None:
    """A process a core and one more, four at most; on a single core pytest runs them itself."""
    assert spread(1) == []
    assert spread(2) == ["-n", "3", "--dist", "loadgroup"]
    assert spread(64) == ["-n", "4", "--dist", "loadgroup"]
    assert usable_cores() >= 1


@pytest.mark.timeout(180)
def test_what_a_failing_test_said_is_shown(project: Path) -> None:
    """With the failed assertion and pytest's exit code; the other tests are counted."""
    command = [*SPREAD, "-k", "fails or passes"]
    done = subprocess.run(
        command, cwd=project, env=bare(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "said before the failure" in done.stdout
    assert "assert (1 + 1) == 3" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.timeout(180)
def test_ctrl_c_lets_fixtures_end(project: Path) -> None:
    """What a fixture started is ended by it, though that takes longer than a moment."""
    # A group of its own, as a terminal gives a command; its Ctrl-C reaches every process of it.
    with subprocess.Popen(
        [*SPREAD, "-k", "slow"], cwd=project, env=bare(), process_group=0
    ) as process:
        wait_until((project / "begun").exists, seconds=120)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 2
    assert (project / "ended").exists()


# Each notes by which process it is run.
NOTED = """
import os
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    with open("processes", "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], __file__, file=file)
"""
CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.conftest import pytest_xdist_make_scheduler
"""


@pytest.mark.timeout(180)
def test_a_group_stays_in_one_process(project: Path) -> None:
    """Tests of files that share something dear, and of no others."""
    (project / "conftest.py").write_text(CONFTEST.format(root=str(ROOT)), encoding="utf-8")
    for name in TOGETHER["engines"][1:3]:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTED, encoding="utf-8")
    command = [*SPREAD, "--dist", "loadgroup", "tests"]
    done = subprocess.run(
        command, cwd=project, env=bare(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    lines = (project / "processes").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 8
    assert len({line.split()[0] for line in lines}) == 1


def test_what_stays_together_is_there() -> None:
    """A file that is renamed is renamed in its group."""
    for name in TOGETHER["engines"]:
        assert (ROOT / name).is_file(), name
    assert group_of("tests/inference/engines/test_stack.py::test_x[1]") == "engines"
    assert group_of("tests/dataflow/test_map.py::test_x") is None
