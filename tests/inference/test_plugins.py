"""Installed packages add scheduling policies by an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sage.benchmark import LLMBenchmarkConfig, StrategyAdapter
from sage.errors import ConfigError
from sage.inference import plugins
from sage.inference.gateway import UnifiedAPIServer, UnifiedServerConfig
from sage.inference.scheduling import policy
from sage.inference.scheduling.scheduler import Scheduler

MODULE = '''
from sage.inference.scheduling.policy import SchedulingPolicy, make_policy

def newest():
    """The newest first.

    More words.
    """
    fifo = make_policy("fifo")
    return SchedulingPolicy("newest", fifo.ordering, fifo.placement)

number = 7
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with an empty list of entry points."""
    (tmp_path / "their_policies.py").write_text(MODULE)
    info = tmp_path / "their_policies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-policies\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(policy, "_factories", dict(policy._factories))
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.delitem(sys.modules, "their_policies", raising=False)
    return info / "entry_points.txt"


def test_policy_is_found_and_registered_once(package: Path) -> None:
    """Its name works like any other, with the docstring's first line as description."""
    package.write_text("[sage.policies]\nnewest = their_policies:newest\n")
    assert plugins.load_policy_plugins() == ["newest"]
    assert plugins.load_policy_plugins() == []
    assert policy.policy_descriptions()["newest"] == "The newest first."
    assert Scheduler("newest").policy.name == "newest"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x = their_policies:missing", "cannot be loaded"),
        ("x = no_such_module:f", "cannot be loaded"),
        ("x = their_policies:number", "is no function"),
        ("fifo = their_policies:newest", "that name is taken"),
    ],
)
def test_broken_plugins_say_what_is_wrong(package: Path, line: str, says: str) -> None:
    """The message names the entry point."""
    package.write_text(f"[sage.policies]\n{line}\n")
    with pytest.raises(ConfigError, match=says):
        plugins.load_policy_plugins()


BASELINES = (
    *("round_robin", "random", "least_requests", "power_of_two", "prefix_cache_aware"),
    *("lmetric", "least_busy", "latency_based", "edf_ttl"),
)
NEWEST = "[sage.policies]\nnewest = their_policies:newest\n"


def test_a_gateway_takes_and_lists_them(package: Path) -> None:
    """As its policy, and among those that its management route can set."""
    package.write_text(NEWEST)
    server = UnifiedAPIServer(UnifiedServerConfig(scheduling_policy="newest"))
    assert server.gateway.policy == "newest"


def test_a_gateway_with_another_policy_can_change_to_them(package: Path) -> None:
    """They are there before anybody names them."""
    package.write_text(NEWEST)
    server = UnifiedAPIServer()
    assert "newest" in policy.policy_descriptions()
    server.gateway.set_policy("newest")


def test_a_benchmark_takes_and_lists_them(package: Path) -> None:
    """After SAGE's own."""
    package.write_text(NEWEST)
    LLMBenchmarkConfig(policies=("newest",)).validate()
    assert StrategyAdapter.list_policies()["newest"] == "The newest first."


def _run(command: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / command), *arguments],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_command_lists_every_policy_there_is(package: Path) -> None:
    """SAGE's own first, then the nine baselines and those of installed packages."""
    package.write_text(NEWEST)
    listed = _run("sage-cp-bench", "policies", path=package.parent.parent)
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names[:2] == ["adaptive", "cost_optimized"]
    assert len(names) == len(set(names)) == 17
    assert {*BASELINES, "newest"} <= set(names[7:])
    assert "The newest first." in listed.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("sage", "gateway", "start", "--port", "0"),
        ("sage", "llm", "serve", "--policy", "x"),
        ("sage-cp-bench", "policies"),
    ],
)
def test_a_broken_one_is_one_line_wherever_it_is_met(
    package: Path, command: tuple[str, ...]
) -> None:
    """With the name of the entry point; nothing starts."""
    package.write_text("[sage.policies]\nx = no_such_module:f\n")
    told = _run(*command, path=package.parent.parent)
    assert told.returncode == 2
    assert "'x' (no_such_module:f) cannot be loaded" in told.stderr
    assert told.stderr.count("\n") == 1
