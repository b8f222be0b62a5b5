"""Every code block of the READMEs runs, against the real engines."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage.config.paths import UserPaths
from sage.config.settings import describe_settings
from sage.inference.engines.stack import Stack, running_stack
from tests.conftest import MODELS_DIR
from tests.documents import ROOT, CodeBlock, code_blocks
from tests.support import ANY_PORTS

BIN = Path(sys.executable).parent
# The Chinese README has the same code, which a test below holds it to.
BLOCKS = code_blocks("README.md")
# A GPU model with vLLM; run by `make test-vllm`, in the environment that has it.
VLLM = [block for block in BLOCKS if "--engine vllm" in block.text]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language == "bash" and block not in VLLM]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("readme")
    paths = UserPaths(root, MODELS_DIR, root / "state", root / "logs", root / "cache")
    with running_stack(ANY_PORTS, paths=paths) as stack:
        yield stack


def _free_ports(count: int) -> list[str]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def shell_environment() -> dict[str, str]:
    """This environment with the project's commands first, and ports of its own."""
    gateway, llm, embedding = _free_ports(3)
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "SAGE_GATEWAY_PORT": gateway,
        "SAGE_LLM_PORT": llm,
        "SAGE_EMBEDDING_PORT": embedding,
        "ONCE": "1",
    }


@pytest.mark.engines
@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_blocks_run(block: CodeBlock, stack: Stack) -> None:
    """Each as a script of its own, finding the gateway by the settings."""
    port = stack.gateway_url.rsplit(":", 1)[1]
    result = subprocess.run(
        [sys.executable, "-c", block.text],
        env={**os.environ, "SAGE_GATEWAY_PORT": port},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.engines
@pytest.mark.timeout(180)
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_blocks_run(block: CodeBlock, shell_environment: dict[str, str]) -> None:
    """Line by line; `make test` is only checked for, since it is what runs this."""
    script = re.sub(r"^make test\b", "make -n test", block.text, flags=re.MULTILINE)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=shell_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_block_is_run_by_some_test() -> None:
    """No block is of a kind that nothing runs."""
    assert len(PYTHON) + len(SHELL) + len(VLLM) == len(BLOCKS)
    assert len(VLLM) == 1


def test_both_languages_show_the_same_commands() -> None:
    """The Chinese README is not left behind: its code differs only in comments."""

    def bare(name: str) -> list[str]:
        return [re.sub(r" +#.*", "", block.text) for block in code_blocks(name)]

    assert bare("README.md") == bare("README.zh.md")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "docs/architecture.md"])
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    """No link to a page that is not there."""
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_figures_are_those_that_were_measured() -> None:
    """No figure is written by hand: `python benchmarks/_figures.py` puts them in."""
    spec = importlib.util.spec_from_file_location("_figures", ROOT / "benchmarks" / "_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for language, path in module.READMES.items():
        text = path.read_text(encoding="utf-8")
        assert module.with_figures(text, language) == text
        assert "| `import sage` |" in text


def test_the_settings_page_lists_every_variable() -> None:
    """docs/settings.md is what the code reads."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for row in describe_settings():
        assert f"| `{row.variable}` | {row.expected} | {row.default} | {row.doc} |" in page
