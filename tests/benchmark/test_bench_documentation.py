"""The page about the command line is about this command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sage.benchmark.cli import cli
from sage.benchmark.sweep.axis import AXES
from sage.benchmark.sweep.experiments import EXPERIMENTS
from sage.cli.run import run_cli
from tests.documents import ROOT, code_blocks

PAGE = "docs/sage-cp-bench.md"
_TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
_TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(
    f"2023-11-16 18:15:{second:02d}.5,{300 + 10 * second},{20 + second}" for second in range(30)
)
_NEEDS_NO_SERVER = ("simulate", "plan", "validate", "policies", "config", "visualize")


def _lines() -> list[str]:
    blocks = [block for block in code_blocks(PAGE) if block.language == "bash"]
    text = "".join(block.text for block in blocks).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines()]


def _is_local(line: str) -> bool:
    words = shlex.split(line)
    return "--simulate" in words or (words[1] in _NEEDS_NO_SERVER and "--url" not in words)


LINES = _lines()


def _commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)


COMMANDS = dict(_commands(cli))


@pytest.fixture
def files() -> None:
    """Write the files that the page's commands name."""
    (block,) = (block for block in code_blocks(PAGE) if block.language == "yaml")
    Path("bench.yaml").write_text(block.text)
    Path("azure.csv").write_text(_TRACE)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", [line for line in LINES if _is_local(line)])
def test_commands_that_need_no_server_run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are written."""

    def run(line: str) -> None:
        words = shlex.split(line)
        monkeypatch.setattr("sys.argv", words)
        assert run_cli(cli, words[0]) == 0

    if "visualize" in line:
        quick = "sage-cp-bench sweep --simulate --rates 20 --rounds 1 --seconds 1"
        run(f"{quick} --output sweep.json")
    run(line)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", [line for line in LINES if not _is_local(line)])
def test_commands_that_need_a_server_have_flags_that_exist(line: str) -> None:
    """Each is read as it would be, and not run."""
    words = shlex.split(line)
    assert words[0] == "sage-cp-bench"
    cli.commands[words[1]].make_context(words[1], words[2:])


def test_the_page_names_every_command() -> None:
    """And every axis and experiment."""
    named = set(re.findall(r"^\| `(\w+)`", _TEXT, re.MULTILINE))
    assert named >= {name.split()[0] for name in COMMANDS}
    assert named >= set(AXES) | set(EXPERIMENTS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_says_its_default(name: str) -> None:
    """In --help, whether it is there by click's doing or ours."""
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and option.name != "help" and not option.required:
            shown = option.show_default or "[default: " in (option.help or "")
            assert shown, f"{name} {option.opts[0]}"
            assert option.help or isinstance(option.type, click.Choice)
