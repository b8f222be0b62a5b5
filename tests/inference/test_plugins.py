"""Installed packages add scheduling policies by an entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sage.errors import ConfigError
from sage.inference import plugins
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
