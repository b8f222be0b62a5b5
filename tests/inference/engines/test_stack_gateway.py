"""The gateway of a stack: policy, keys and limits as `sage gateway start` has them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sage.benchmark.cli import cli
from sage.cli.run import run_cli
from sage.config.paths import UserPaths
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.stack import Stack, running_stack
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.scheduling.slo import SLO
from tests.conftest import MODELS_DIR
from tests.support import ANY_PORTS, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120)]

KEY = "a-key-for-management"
# A pool for two of the requests below; what the engine has no room for it fails.
SMALL_POOL = EngineOptions(max_model_len=512, extra=("--slots", "8", "--n-ctx", "512"))
LONG = {
    "messages": [{"role": "user", "content": "The lighthouse stood on a rock. " * 20}],
    "max_tokens": 45,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("stack")
    paths = UserPaths(root, MODELS_DIR, root / "state", root / "logs", root / "cache")
    gateway = UnifiedServerConfig(management_keys=[KEY], slo_classes={"llm": SLO(ttft_s=30.0)})
    config = replace(ANY_PORTS, gateway=gateway, options=SMALL_POOL)
    with running_stack(config, paths=paths) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(
        base_url=stack.gateway_url, trust_env=False, timeout=90, headers=headers
    ) as client:
        yield client


def _manage(client: httpx2.Client, what: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/management/{what}").raise_for_status().json()
    return found


def _ask_all(client: httpx2.Client, number: int) -> list[int]:
    def ask(_: int) -> int:
        return client.post("/v1/chat/completions", json=LONG).status_code

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(ask, range(number)))


def test_the_gateway_has_what_was_asked_for(client: httpx2.Client, stack: Stack) -> None:
    """The default policy over both kinds, the keys, and each engine with its limit."""
    assert _manage(client, "policy")["policy"] == "hybrid_slo"
    assert [item["id"] for item in _manage(client, "instances")["instances"]] == [
        "llm-1",
        "embedding-1",
    ]
    bare = httpx2.get(f"{stack.gateway_url}/v1/management/policy", trust_env=False)
    assert bare.status_code == 401


def test_long_requests_wait_in_the_scheduler_instead_of_failing_in_the_engine(
    client: httpx2.Client,
) -> None:
    """Eight at once take four times the engine's context; all are answered."""
    assert _ask_all(client, 8) == [200] * 8
    series = _manage(client, "metrics")["series"]
    queued = max(one["queue_ms"]["p95"] for one in series if one["requests"]["done"] >= 8)
    assert queued > 100


def test_an_engine_at_work_tells_of_itself(client: httpx2.Client, stack: Stack) -> None:
    """llama.cpp's /metrics reaches the scheduler."""
    states = stack._server.gateway._scheduler.instance
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(_ask_all, client, 4)
        wait_until(lambda: states("llm-1").telemetry is not None, seconds=60)
        assert working.result() == [200] * 4


@pytest.fixture
def bench(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("SAGE_GATEWAY_PORT", stack.gateway_url.rsplit(":", 1)[1])
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["sage-cp-bench", *arguments, "--api-key", KEY])
        return run_cli(cli, "sage-cp-bench")

    return run


@pytest.mark.parametrize(
    ("line", "policies"),
    [
        ("run --mode llm --policy fifo", ["fifo"]),
        ("run --mode hybrid --policy hybrid_slo --llm-ratio 0.7", ["hybrid_slo"]),
        (
            "compare --mode llm --policies fifo,priority,slo_aware --rounds 1",
            ["fifo", "priority", "slo_aware"],
        ),
    ],
)
def test_the_benchmark_sets_the_policy_and_puts_it_back(
    bench: Callable[..., int], client: httpx2.Client, tmp_path: Path, line: str, policies: list[str]
) -> None:
    """The tutorial's lines, made short: each request is answered under the policy named."""
    output = tmp_path / "r.json"
    sizes = ("--requests", "5", "--rate", "10", "--output-tokens", "4", "--prompt-tokens", "20")
    # A busy machine may make the client late, which it then says with 7.
    code = bench(*line.split(), *sizes, "--warmup-requests", "1", "--output", str(output))
    assert code in (0, 7)
    runs = json.loads(output.read_text())["runs"]
    assert [run["policy"] for run in runs] == policies
    assert [run["summary"]["counts"]["answered"] for run in runs] == [5] * len(policies)
    assert _manage(client, "policy")["policy"] == "hybrid_slo"


def test_what_a_manager_decided_outlives_the_engine() -> None:
    """A drained engine that dies and comes back is still drained; one removed stays out."""
    config = replace(ANY_PORTS, llm=False, llm_port=None)
    with (
        running_stack(config) as stack,
        httpx2.Client(base_url=stack.gateway_url, trust_env=False, timeout=30) as client,
    ):
        one = "/v1/management/instances/embedding-1"
        client.post(f"{one}/drain").raise_for_status()
        _kill(stack, "embedding-1")
        wait_until(lambda: client.get(one).json()["held_by"] == ["drain"])
        client.post(f"{one}/resume").raise_for_status()
        assert client.post("/v1/embeddings", json={"input": "a ship"}).status_code == 200

        client.delete(one).raise_for_status()
        _kill(stack, "embedding-1")
        assert client.get(one).status_code == 404


def _kill(stack: Stack, id_: str) -> None:
    """Kill an engine outright and wait until its supervisor has it back."""
    (engine,) = [one for one in stack._supervisor.engines if one.spec.id == id_]
    killed, deaths = engine.process.pid, engine.deaths
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: engine.deaths > deaths and engine.status == "healthy", seconds=40)
