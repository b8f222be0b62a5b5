"""``sage llm`` as a person types it, with the real engines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from sage.config.paths import user_paths
from sage.inference.engines.state import read_state
from tests.conftest import MODELS_DIR
from tests.support import running, wait_until

SAGE = str(Path(sys.executable).parent / "sage")
ANY_PORTS = ("--gateway-port", "0", "--port", "0", "--embedding-port", "0")


def sage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAGE, *arguments], capture_output=True, text=True, check=False, timeout=90
    )


@pytest.fixture
def stack() -> Iterator[dict[str, object]]:
    """A stack in the background, as `sage llm status --json` shows it."""
    started = sage("llm", "serve", "--background", *ANY_PORTS)
    assert started.returncode == 0, started.stderr
    yield json.loads(sage("llm", "status", "--json").stdout) | {"said": started.stdout}
    sage("llm", "stop")


def _ports(report: dict[str, object]) -> list[int]:
    instances = report["instances"]
    assert isinstance(instances, list)
    return [instance["port"] for instance in instances]


def _pids(report: dict[str, object]) -> list[int]:
    instances = report["instances"]
    assert isinstance(instances, list)
    pid = report["pid"]
    assert isinstance(pid, int)
    return [pid, *(instance["pid"] for instance in instances)]


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_serve_status_logs_stop(stack: dict[str, object]) -> None:
    """The life of a stack: URLs and a curl line that works, a table, logs, and a clean end."""
    said = str(stack["said"])
    assert "gateway    http://127.0.0.1:" in said
    assert "LLM        http://127.0.0.1:" in said
    assert "embedding  http://127.0.0.1:" in said
    (curl,) = [line.strip() for line in said.splitlines() if line.strip().startswith("curl ")]
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=False)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]

    table = sage("llm", "status")
    assert table.returncode == 0
    assert "healthy" in table.stdout
    assert "1 done" in table.stdout

    assert "model loaded" in sage("llm", "logs", "llm-1").stdout
    unknown = sage("llm", "logs", "llm-7")
    assert unknown.returncode == 2
    assert "did you mean 'llm-1'" in unknown.stderr

    pids = _pids(stack)
    stopped = sage("llm", "stop")
    assert stopped.stdout == "stopped 3 processes\n"
    assert running(pids) == []
    assert sage("llm", "stop").stdout == "nothing is running\n"


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_a_second_serve_says_who_holds_the_ports(stack: dict[str, object]) -> None:
    """In one line, and the first goes on."""
    second = sage("llm", "serve", "--background", *ANY_PORTS)
    assert second.returncode == 4
    assert second.stderr.startswith(f"error: a stack is running already: pid {stack['pid']} holds")
    assert second.stderr.count("\n") == 1
    assert sage("llm", "status").returncode == 0


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_restart_serves_the_same_again(stack: dict[str, object]) -> None:
    """Other processes, the same arguments and the same ports, so that clients find it."""
    again = sage("llm", "restart")
    assert again.returncode == 0, again.stderr
    report = json.loads(sage("llm", "status", "--json").stdout)
    assert report["healthy"]
    assert not set(_pids(report)) & set(_pids(stack))
    assert _ports(report) == _ports(stack)


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_restart_starts_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the same thing again; engine flags reach the only engine.

    What an engine has no use for is said on the terminal, also from the background.
    """
    Path("mini").symlink_to(MODELS_DIR / "all-minilm-l6-v2")
    flags = ("--no-llm", "--embedding-model", "./mini", "--dtype", "half", "--", "--threads", "1")
    started = sage("llm", "serve", "--background", *ANY_PORTS, *flags)
    assert started.returncode == 0, started.stderr
    assert started.stderr == "WARNING: onnx has no use for --dtype; it is ignored\n"
    monkeypatch.chdir(tmp_path)
    again = sage("llm", "restart")
    assert again.returncode == 0, again.stderr
    (instance,) = json.loads(sage("llm", "status", "--json").stdout)["instances"]
    assert instance["model"] == "mini"
    assert "--threads 1" in " ".join(psutil.Process(instance["pid"]).cmdline())
    sage("llm", "stop")


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_policy_and_gateway_file_are_kept_over_a_restart_and_reread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds keys and objectives; the flag wins over its policy, also after a reload."""
    file = Path("gateway.toml")
    file.write_text(
        f'scheduling_policy = "fifo"\napi_keys = ["{KEY}-1"]\nmanagement_keys = ["{KEY}"]\n'
    )
    flags = ("--no-llm", "--policy", "priority", "--gateway-config", "gateway.toml")
    started = sage("llm", "serve", "--background", *ANY_PORTS, *flags)
    assert started.returncode == 0, started.stderr
    assert "-H 'authorization: Bearer YOUR-KEY'" in started.stdout
    assert _policy(KEY) == (200, "priority")
    assert _policy("another-key") == (401, None)
    again = _elsewhere(tmp_path, monkeypatch, "llm", "restart")
    assert again.returncode == 0, again.stderr
    assert _policy(KEY) == (200, "priority")

    file.write_text('management_keys = ["another-key"]\n')
    assert _call("POST", "reload", KEY).status_code == 200
    assert _policy(KEY) == (401, None)
    assert _policy("another-key") == (200, "priority")
    file.write_text("port = 9\n")
    wrong = _call("POST", "reload", "another-key")
    assert wrong.status_code == 400
    assert "--gateway-port" in wrong.json()["error"]["message"]
    assert json.loads(sage("llm", "status", "--json").stdout)["healthy"]
    sage("llm", "stop")


KEY = "a-key-for-management"


def _elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> subprocess.CompletedProcess[str]:
    with monkeypatch.context() as here:
        here.chdir(folder)
        return sage(*arguments)


def _call(method: str, what: str, key: str) -> httpx2.Response:
    state = read_state(user_paths())
    assert state is not None
    return httpx2.request(
        method,
        f"{state.gateway_url}/v1/management/{what}",
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
    )


def _policy(key: str) -> tuple[int, str | None]:
    answer = _call("GET", "policy", key)
    return answer.status_code, answer.json().get("policy")


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_a_stack_killed_outright_takes_its_engines_with_it(stack: dict[str, object]) -> None:
    """kill -9: status says so, and nothing is left within seconds."""
    pids = _pids(stack)
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: running(pids[1:]) == [])
    status = sage("llm", "status")
    assert status.returncode == 1
    assert status.stdout == "nothing is running; start it with `sage llm serve`\n"


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_ctrl_c_stops_a_foreground_stack(tmp_path: Path) -> None:
    """Exit code 0, and nothing is left."""
    process = subprocess.Popen(
        [SAGE, "llm", "serve", *ANY_PORTS], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        while "try it" not in process.stdout.readline():
            assert process.poll() is None
        pids = _pids(json.loads(sage("llm", "status", "--json").stdout))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert running(pids[1:]) == []


@pytest.mark.engines
def test_a_busy_port_is_one_line() -> None:
    """With the holder's name and the flag."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        busy = sage("llm", "serve", "--gateway-port", port, "--port", "0")
    assert busy.returncode == 4
    assert f"port {port} for the gateway is held by" in busy.stderr
    assert f"pid {os.getpid()}" in busy.stderr


@pytest.mark.engines
def test_a_background_failure_shows_the_engines_last_words(tmp_path: Path) -> None:
    """The user need not look for the log first."""
    failed = sage("llm", "serve", "--background", *ANY_PORTS, "--no-embedding", "--", "--n-bach=1")
    assert failed.returncode == 4
    assert failed.stderr.startswith("error: llm-1 (smollm2-135m-instruct on llama.cpp)")
    assert "did you mean 'n_batch'" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["serve", "--modle", "x"], 2, "No such option '--modle'"),
        (["serve", "--dtype", "fp8"], 2, "'fp8' is not one of"),
        (["serve", "--model", "absent.gguf"], 3, "there is no file"),
        (["serve", "--model", "qwen"], 3, "'qwen' is no packaged model"),
        (["serve", "--engine", "vlm"], 2, "did you mean 'vllm'"),
        (["serve", "--instances", "0"], 2, "--instances must be at least 1, not 0"),
        (["serve", "--no-llm", "--model", "x"], 2, "an LLM, which is switched off"),
        (["serve", "--host", "192.0.2.1"], 2, "cannot listen on host '192.0.2.1'"),
        (["serve", "--gateway-port", "0", "--port", "0", "--", "--port=1"], 2, "before the --"),
        (["serve", "--background", "--policy", "fifi"], 2, "did you mean 'fifo'"),
        (["serve", "--background", "--gateway-config", "no.toml"], 2, "no.toml cannot be read"),
        (["logs", "-n", "-1"], 2, "-1 is not in the range"),
        (["serve", "stray"], 2, "unexpected extra argument (stray)"),
        (["serve", "--embedding-model", "x", "--no-embedding"], 2, "exclude each other"),
        (["logs"], 2, "nothing has been served yet"),
        (["restart"], 4, "nothing is running"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], code: int, message: str) -> None:
    """What was wrong, and what to do; nothing starts."""
    result = sage("llm", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_a_broken_env_file_is_one_line() -> None:
    """With file and line."""
    Path(".env").write_text('SAGE_LLM_PORT="8001\n', encoding="utf-8")
    result = sage("llm", "serve")
    assert result.returncode == 2
    assert ".env:1: cannot read" in result.stderr


def test_the_health_route_is_asked_with_a_bound() -> None:
    """A gateway that is silent is said to be so."""
    from sage.cli.status import ask_gateway

    assert ask_gateway("http://127.0.0.1:1") == {"status": "silent"}
