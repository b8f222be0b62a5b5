"""What docs/ray-engines.md says is so."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from sage.cli.llm import serve
from sage.config.paths import user_paths
from sage.config.settings import Settings
from sage.errors import ResourceError
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.plan import StackConfig
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.placement import Room
from sage.inference.engines.remote.plan import plan_remote
from sage.inference.engines.restarts import RestartRule
from tests.documents import ROOT, code_blocks

PAGE = "docs/ray-engines.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_its_serve_commands_are_taken() -> None:
    """Every option in them exists."""
    lines = [line for block in code_blocks(PAGE) for line in block.text.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "llm serve" in line]
    assert commands
    for command in commands:
        assert serve.make_context("serve", command[3:]).params["on"] == "ray"


def test_its_options_are_those_there_are() -> None:
    """The table names no other, and none is missing that is for clusters alone."""
    named = {line.split("`")[1].split()[0] for line in TEXT.splitlines() if line[:4] == "| `-"}
    known = {option for parameter in serve.params for option in parameter.opts}
    assert named <= known
    assert {"--ray-address", "--cpus", "--gpus", "--wait"} <= named


def test_its_error_is_the_real_one() -> None:
    """Word by word, for the cluster that it speaks of."""
    options = EngineOptions(tensor_parallel_size=4)
    config = StackConfig(
        model="org/model", instances=2, embedding=False, gateway_port=0, options=options
    )
    rooms = [Room("gpu-1", 16, 4), Room("gpu-2", 16, 2)]
    with pytest.raises(ResourceError) as caught:
        plan_remote(config, RemoteConfig(), rooms, user_paths(), Settings())
    assert f"error: {caught.value}\n" in TEXT


def test_its_restart_rule_is_the_real_one() -> None:
    """Delays and deaths."""
    rule = dataclasses.asdict(RestartRule())
    text = " ".join(TEXT.split())
    assert (
        "{first_delay:g} s before the first restart, doubling up to {longest_delay:g} s, given up "
        "after {most_deaths} deaths within {window:g} s".format(**rule)
    ) in text
