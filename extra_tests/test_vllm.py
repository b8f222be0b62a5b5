"""vLLM itself, on the CPU, behind the gateway: `make test-vllm`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.documents import ROOT
from tests.support import running, wait_until
from tests.test_readme import VLLM

from extra_tests.tiny_llama import make_tiny_llama
from sage import UnifiedInferenceClient

pytestmark = pytest.mark.timeout(900)

SAGE = str(Path(sys.executable).parent / "sage")
TEXT = ROOT / "examples" / "data" / "eddystone.txt"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = TEXT.read_text(encoding="utf-8").splitlines()
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama", corpus)


def _readme_command(model: Path) -> list[str]:
    """The README's own command, with what a machine without GPU and hub cannot have replaced."""
    (block,) = VLLM
    text = block.text.replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("sage llm serve")]
    words = shlex.split(line)
    replaced = {
        "Qwen/Qwen2.5-7B-Instruct": str(model),
        "BAAI/bge-m3": "all-minilm-l6-v2",
        "0.45": "0.1",  # vLLM on the CPU takes this share of the machine's memory
        "8192": "1024",
        "2": "1",  # two would compile at once on the same cores
    }
    assert set(replaced) <= set(words)
    words = [replaced.get(word, word) for word in words]
    return [SAGE, *words[1:3], "--background", *words[3:]]


@pytest.fixture(scope="module")
def report(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The running stack, as `sage llm status --json` shows it."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        "SAGE_HOME": str(home),
        "SAGE_MODELS_DIR": os.environ["SAGE_TEST_MODELS"],
        "HF_HUB_OFFLINE": "1",
    }
    command = _readme_command(model)
    ports = ["--gateway-port", "0", "--port", "0", "--embedding-port", "0"]
    split = command.index("--")
    command = [*command[:split], *ports, *command[split:]]
    started = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    status = subprocess.run(
        [SAGE, "llm", "status", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(status.stdout)
    yield report
    subprocess.run([SAGE, "llm", "stop"], env=environment, check=True, capture_output=True)
    pids = [instance["pid"] for instance in report["instances"]]
    wait_until(lambda: running(pids) == [])


@pytest.fixture
def url(report: dict[str, Any]) -> str:
    """The gateway's OpenAI base URL."""
    return str(report["gateway_url"])


def test_chat_and_completion_come_from_vllm(url: str) -> None:
    """With the engine's own token counts."""
    with UnifiedInferenceClient.create(control_plane_url=url) as client:
        result = client.chat("hello", max_tokens=8, return_result=True)
        assert result.model == "tiny-llama"
        assert result.completion_tokens == 8
        assert isinstance(client.generate("The lighthouse", max_tokens=4), str)


def test_streams_arrive_in_pieces(url: str) -> None:
    """And end as they should."""
    with UnifiedInferenceClient.create(control_plane_url=url) as client:
        pieces = list(client.chat("hello", max_tokens=16, stream=True, temperature=0.0))
    assert len(pieces) > 1


def test_every_flag_reached_the_engine(report: dict[str, Any]) -> None:
    """The README's flags, and what follows the separator as it stands."""
    (llm,) = [one for one in report["instances"] if one["kind"] == "llm"]
    words = psutil.Process(llm["pid"]).cmdline()
    assert "--enable-prefix-caching" in words
    for flag, value in (
        ("--dtype", "bfloat16"),
        ("--max-model-len", "1024"),
        ("--gpu-memory-utilization", "0.1"),
        ("--scheduling-policy", "priority"),
    ):
        assert words[words.index(flag) + 1] == value


def test_embeddings_run_beside_it(url: str) -> None:
    """One endpoint for both kinds."""
    with UnifiedInferenceClient.create(control_plane_url=url) as client:
        assert len(client.embed(["a", "b"])) == 2
