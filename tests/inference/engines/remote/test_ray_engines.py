"""Real engines on a real Ray cluster of two nodes, behind the gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import psutil
import pytest

from sage.cluster.config import RayConfig
from sage.config.paths import UserPaths
from sage.errors import ModelNotFoundError, ResourceError
from sage.inference.engines.plan import StackConfig
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.stack import Stack, running_stack
from sage.inference.engines.state import RunningEngine, read_state
from sage.inference.gateway.config import UnifiedServerConfig
from tests.conftest import MODELS_DIR
from tests.ray_nodes import add_node
from tests.support import running, wait_until

pytestmark = pytest.mark.engines

_PATIENCE_S = 50
# Its answers have the length that is asked for: none ends before the test has looked.
QUESTION = {"messages": [{"role": "user", "content": "Say hello."}], "ignore_eos": True}


def _paths(factory: pytest.TempPathFactory) -> UserPaths:
    root = factory.mktemp("ray-stack")
    return UserPaths(root, MODELS_DIR, root / "state", root / "logs", root / "cache")


def _config(ray_cluster: Any, **more: Any) -> StackConfig:
    remote = RemoteConfig(RayConfig(address=ray_cluster.address), cpus=0.9, gpus=1)
    # What is asked here is always the same, which the default policy may leave to one engine.
    gateway = UnifiedServerConfig(scheduling_policy="fifo")
    config = StackConfig(
        gateway_port=0, embedding=False, instances=2, remote=remote, gateway=gateway
    )
    return replace(config, **more)


@pytest.fixture(scope="module")
def stack(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(_config(ray_cluster), paths=_paths(tmp_path_factory)) as stack:
        yield stack


def _engines(stack: Stack) -> dict[str, RunningEngine]:
    state = read_state(stack.paths)
    assert state is not None
    return {engine.id: engine for engine in state.engines}


def _environment(engine: RunningEngine) -> dict[str, str]:
    return psutil.Process(engine.pid).environ()


def _ask(stack: Stack, tokens: int = 4) -> httpx2.Response:
    url = f"{stack.gateway_url}/v1/chat/completions"
    question = {**QUESTION, "max_tokens": tokens}
    return httpx2.post(url, json=question, trust_env=False, timeout=60)


def _answering(stack: Stack) -> set[str]:
    """Return the instances that answer questions asked side by side; each must be answered."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: _ask(stack), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    return {answer.headers["x-sage-instance"] for answer in answers}


def _replaced(stack: Stack, old: RunningEngine) -> bool:
    new = _engines(stack)[old.id]
    return new.status == "healthy" and new.url != old.url and new.pid != old.pid


def test_engines_on_two_nodes_answer_through_one_gateway(stack: Stack) -> None:
    """One on each node with its GPU, on the loopback address, which is enough on one machine."""
    assert _answering(stack) == {"llm-1", "llm-2"}
    engines = _engines(stack).values()
    assert all(engine.url.startswith("http://127.0.0.1:") for engine in engines)
    assert [_environment(engine)["CUDA_VISIBLE_DEVICES"] for engine in engines] == ["0", "0"]
    raylets = {psutil.Process(engine.pid).parents()[1].pid for engine in engines}
    assert len(raylets) == 2


def test_what_an_engine_prints_comes_here(stack: Stack) -> None:
    """`sage llm logs` reads it from a file on this machine."""
    log = stack.paths.logs / "llm-1.log"
    wait_until(lambda: "model loaded" in log.read_text(encoding="utf-8"))


def test_an_engine_that_only_its_node_reaches_is_known(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node finds it well again and again: then it is the way that is closed."""
    monkeypatch.setattr("sage.inference.engines.remote.engine._REACH_LOOK_S", 0.0)
    engine = stack._supervisor.engines[0].process
    monkeypatch.setattr(engine, "_next_look", 0.0)
    # While it started, its node may have found it well a moment after this machine had not.
    monkeypatch.setattr(engine, "_looks_well", 0)

    async def look() -> list[str | None]:
        return [await engine.unreachable() for _ in range(3)]

    first, second, third = asyncio.run(look())
    assert first is None
    assert second is None
    assert third is not None
    assert f"but this machine cannot reach {engine.spec.url}" in third


def _in_flight(stack: Stack) -> int:
    health = httpx2.get(f"{stack.gateway_url}/health", trust_env=False).json()
    return min(instance["in_flight"] for instance in health["instances"])


@pytest.mark.timeout(120)
def test_an_engine_and_an_actor_killed_outright_are_replaced(stack: Stack) -> None:
    """kill -9: new ones, under new addresses; what ran there and had no answer yet goes on."""
    first, second = _engines(stack)["llm-1"], _engines(stack)["llm-2"]
    assert first.pid is not None
    assert second.pid is not None
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(_ask, stack, 40) for _ in range(6)]
        wait_until(lambda: _in_flight(stack) > 0)
        os.kill(psutil.Process(second.pid).ppid(), signal.SIGKILL)
        # An engine does not outlive its actor.
        wait_until(lambda: running([second.pid or 0]) == [])
    assert [answer.result().status_code for answer in answers] == [200] * 6
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: _replaced(stack, first) and _replaced(stack, second), _PATIENCE_S)
    assert _answering(stack) == {"llm-1", "llm-2"}


@pytest.mark.timeout(120)
def test_a_lost_nodes_engine_waits_for_room_and_goes_where_there_is_some(
    stack: Stack, ray_cluster: Any
) -> None:
    """The reason is told, the other engine goes on, and a node that joins gets the engine."""
    node = next(iter(ray_cluster.worker_nodes))
    raylet = node.all_processes["raylet"][0].process.pid
    (old,) = [
        engine
        for engine in _engines(stack).values()
        if psutil.Process(engine.pid).parents()[1].pid == raylet
    ]
    (other,) = {"llm-1", "llm-2"} - {old.id}
    ray_cluster.remove_node(node, allow_graceful=False)
    wait_until(lambda: "waits for room" in _engines(stack)[old.id].note, _PATIENCE_S)
    assert (
        "1 engine needs 0.9 CPUs and 1 GPU on one node; free: 0.1 CPUs"
        in _engines(stack)[old.id].note
    )
    assert running([old.pid or 0]) == []
    assert _answering(stack) == {other}
    add_node(ray_cluster, 1)
    wait_until(lambda: _replaced(stack, old), _PATIENCE_S)
    assert _engines(stack)[old.id].note == ""
    assert _answering(stack) == {"llm-1", "llm-2"}


def test_more_engines_than_fit_are_refused_before_any_is_started(
    stack: Stack, ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With what is needed and what is free."""
    config = _config(
        ray_cluster, remote=RemoteConfig(RayConfig(address=ray_cluster.address), cpus=2)
    )
    with (
        pytest.raises(ResourceError, match="2 engines need 4 CPUs, 2 CPUs each on one node; free:"),
        running_stack(config, paths=_paths(tmp_path_factory)),
    ):
        pass


def test_a_model_that_is_not_on_the_node_is_named_with_it(
    stack: Stack, ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The node looks for it, and says where; the actor is gone afterwards."""
    remote = RemoteConfig(RayConfig(address=ray_cluster.address), cpus=0.1)
    config = _config(ray_cluster, model="absent.gguf", instances=1, remote=remote)
    with (
        pytest.raises(ModelNotFoundError, match=r"llm-1 on node \S+: there is no file 'absent"),
        running_stack(config, paths=_paths(tmp_path_factory)),
    ):
        pass
