"""Real engines behind the gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from sage.config.paths import UserPaths, user_paths
from sage.errors import AlreadyRunningError, EngineError, EngineStartError
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.plan import StackConfig
from sage.inference.engines.resolve import resolve_model
from sage.inference.engines.stack import Stack, running_stack
from sage.inference.engines.state import read_state
from sage.inference.scheduling.request import Kind
from tests.conftest import MODELS_DIR
from tests.support import ANY_PORTS, running, wait_until

pytestmark = pytest.mark.engines

QUESTION = {
    "messages": [
        {
            "role": "user",
            "content": "Context: The bridge was finished in 1932.\n\n"
            "Question: When was the bridge finished?",
        }
    ],
    "max_tokens": 24,
    "temperature": 0.0,
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> UserPaths:
    root = tmp_path_factory.mktemp("stack")
    return UserPaths(root, MODELS_DIR, root / "state", root / "logs", root / "cache")


@pytest.fixture(scope="module")
def stack(paths: UserPaths) -> Iterator[Stack]:
    with running_stack(ANY_PORTS, paths=paths) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.gateway_url, trust_env=False, timeout=60) as client:
        yield client


def _pids(paths: UserPaths) -> dict[str, int]:
    state = read_state(paths)
    assert state is not None
    return {engine.id: engine.pid for engine in state.engines if engine.pid is not None}


def test_the_llm_answers_through_the_gateway(client: httpx2.Client) -> None:
    """From the context, with the engine's own usage."""
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.headers["x-sage-instance"] == "llm-1"
    assert "1932" in answer.json()["choices"][0]["message"]["content"]
    assert answer.json()["usage"]["completion_tokens"] > 0


def test_embeddings_come_through_the_same_endpoint(client: httpx2.Client) -> None:
    """Normalised, one a text, and alike texts are alike; the model may be left out."""
    answer = client.post("/v1/embeddings", json={"input": ["a ship", "a boat", "a theorem"]})
    vectors = [item["embedding"] for item in answer.json()["data"]]

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(vectors[0], vectors[0]) == pytest.approx(1, abs=1e-4)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.2


def test_every_request_is_counted(client: httpx2.Client) -> None:
    """received = done + failed + cancelled + rejected + open."""
    client.post("/v1/chat/completions", json={"model": "none", "messages": []})
    counts = client.get("/health").json()["requests"]
    parts = ("done", "failed", "cancelled", "rejected", "open")
    assert counts["received"] == sum(counts[part] for part in parts)
    assert counts["rejected"] >= 1


def test_an_engine_killed_outright_is_back_and_serving(
    client: httpx2.Client, paths: UserPaths
) -> None:
    """kill -9: the gateway says degraded, then the engine is there again under another pid."""
    killed = _pids(paths)["llm-1"]
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 30
    seen = set()
    while time.monotonic() < deadline:
        health = client.get("/health").json()
        seen.add(health["status"])
        if health["status"] == "ok" and _pids(paths).get("llm-1") not in (None, killed):
            break
        time.sleep(0.02)
    assert seen == {"ok", "degraded"}
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_a_client_that_leaves_ends_the_engines_work(client: httpx2.Client, stack: Stack) -> None:
    """The slot is free again within a second, long before the answer would have ended."""
    (llm,) = [engine for engine in stack.engines if engine.kind is Kind.LLM]
    request = {**QUESTION, "max_tokens": 4000, "stream": True, "ignore_eos": True}
    with client.stream("POST", "/v1/chat/completions", json=request) as answer:
        lines = answer.iter_lines()  # kept: dropping it would close the connection
        next(lines)
        assert _busy_slots(llm.url) == 1
    wait_until(lambda: _busy_slots(llm.url) == 0, seconds=5)


def _busy_slots(url: str) -> int:
    slots = httpx2.get(f"{url}/slots", trust_env=False, timeout=10).json()
    return sum(slot["is_processing"] for slot in slots)


def test_a_second_stack_says_who_runs(stack: Stack, paths: UserPaths) -> None:
    """With the pid and the ports that are held."""
    port = stack.gateway_url.rsplit(":", 1)[1]
    expected = rf"pid {os.getpid()} holds ports {port} \(gateway\)"
    with (
        pytest.raises(AlreadyRunningError, match=expected),
        running_stack(ANY_PORTS, paths=paths),
    ):
        pytest.fail("it started")


def test_after_the_block_nothing_is_left() -> None:
    """No process, no state."""
    paths = user_paths()
    with running_stack(StackConfig(gateway_port=0, embedding_port=0, llm=False), paths=paths):
        pids = _pids(paths)
        assert list(pids) == ["embedding-1"]
    assert running(pids.values()) == []
    assert read_state(paths) is None


def test_an_engine_that_dies_while_loading_takes_the_rest_down(tmp_path: Path) -> None:
    """Its last words are in the error; nothing is left running."""
    whole = resolve_model(None, Kind.LLM).path
    assert whole is not None
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(whole.read_bytes().replace(b"llama", b"lemur", 1))  # its architecture
    config = StackConfig(model=str(unknown), gateway_port=0, llm_port=0, embedding_port=0)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(EngineStartError, match=r"llm-1 .* while starting") as caught:
        asyncio.run(_start(config))
    assert any("cannot load" in line for line in caught.value.log_tail)
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert left == set()
    assert read_state(user_paths()) is None


async def _start(config: StackConfig) -> None:
    async with Stack(config):
        pytest.fail("it started")


def test_a_wrong_engine_flag_is_named(tmp_path: Path) -> None:
    """What stands after -- reaches the engine, which refuses what it does not know."""
    options = EngineOptions(extra=("--n-bach", "64"))
    config = StackConfig(gateway_port=0, llm_port=0, embedding=False, options=options)
    with pytest.raises(EngineStartError) as caught:
        asyncio.run(_start(config))
    assert any("did you mean 'n_batch'" in line for line in caught.value.log_tail)


def test_a_state_folder_that_cannot_be_written_is_one_line(isolated_home: Path) -> None:
    """Before any engine is started."""
    (isolated_home / "sage").write_text("in the way", encoding="utf-8")
    with pytest.raises(EngineError, match=r"cannot write to .*SAGE_HOME"):
        asyncio.run(_start(ANY_PORTS))


def test_a_full_disk_stops_the_start_and_leaves_nothing(isolated_home: Path) -> None:
    """One line, before any engine is started."""
    state = user_paths().state
    state.mkdir(parents=True)
    (state / f"stack.{os.getpid()}.tmp").symlink_to("/dev/full")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(EngineError, match="No space left on device"):
        asyncio.run(_start(ANY_PORTS))
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert left == set()


def test_a_disk_that_fills_up_does_not_stop_what_is_serving(
    client: httpx2.Client, paths: UserPaths, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine is restarted all the same; the state that could not be written is reported."""
    killed = _pids(paths)["embedding-1"]
    (paths.state / f"stack.{os.getpid()}.tmp").symlink_to("/dev/full")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: _pids(paths).get("embedding-1") not in (None, killed))
    wait_until(lambda: client.get("/health").json()["status"] == "ok")
    assert client.post("/v1/embeddings", json={"input": "a ship"}).status_code == 200
    assert any("No space left on device" in message for message in caplog.messages)


INTERRUPTED = """
import psutil
from sage.inference.engines.plan import StackConfig
from sage.inference.engines.stack import running_stack

print("starting", flush=True)
try:
    with running_stack(StackConfig(gateway_port=0, llm_port=0, embedding_port=0)):
        print("started", flush=True)
except KeyboardInterrupt:
    print([child.pid for child in psutil.Process().children(recursive=True)], flush=True)
"""


def test_ctrl_c_while_starting_leaves_nothing() -> None:
    """The start is broken off and what it had brought up is stopped, before the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "starting\n"
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "[]\n"
    assert process.wait(timeout=10) == 0
    assert read_state(user_paths()) is None
