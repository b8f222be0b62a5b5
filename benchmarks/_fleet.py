"""Two LLM engines of different speed and an embedding engine behind ``sage gateway``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage.config.paths import user_paths

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
FAST, SLOW, EMBEDDING = "fast", "slow", "embedding"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Shape:
    """How the fleet is built.

    Attributes:
        slots: requests each LLM engine works on at once; the gateway gives it no more.
        slow_share: CPU time of a core that the slow engine gets, of 1.
        embedding_slots: requests the embedding engine is given at once.
    """

    slots: int = 2
    slow_share: float = 0.5
    embedding_slots: int = 16


@dataclass(frozen=True)
class Cores:
    """Which cores what runs on: one for each LLM engine, and what is left for all else."""

    fast: set[int]
    slow: set[int]
    rest: set[int]

    @classmethod
    def found(cls) -> Cores:
        """Deal out the cores this process may use; two are enough.

        Raises:
            SystemExit: there is only one.
        """
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("this benchmark needs two cores: one for each LLM engine")
        return cls({cores[0]}, {cores[1]}, set(cores[2:]) or {cores[1]})


class Fleet:
    """A running fleet.

    Attributes:
        url: of the gateway.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def metrics(self) -> dict[str, Any]:
        """Return what the gateway says of itself."""
        return dict(_get(f"{self.url}/v1/management/metrics"))

    def drained(self) -> dict[str, Any]:
        """Wait until nothing is queued or runs, and return the gateway's metrics then."""
        limit = time.monotonic() + _PATIENCE_S
        while time.monotonic() < limit:
            metrics = self.metrics()
            if not metrics["requests"]["open"]:
                return metrics
            time.sleep(0.05)
        raise SystemExit(f"the gateway is not empty after {_PATIENCE_S:.0f} s: {metrics}")


@contextlib.contextmanager
def fleet(shape: Shape) -> Iterator[Fleet]:
    """Start engines and gateway, give them when all are up, and end them."""
    cores = Cores.found()
    ports = dict(zip((FAST, SLOW, EMBEDDING, "gateway"), _free_ports(4), strict=True))
    # A terminal that closes or a plain kill must not leave engines behind.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = _Runner(stack, folder)
        run.start(FAST, _llm(shape, ports[FAST]), cores.fast)
        slow = run.start(SLOW, _llm(shape, ports[SLOW]), cores.slow)
        run.start(EMBEDDING, _embedding(ports[EMBEDDING]), cores.rest)
        for name in (FAST, SLOW, EMBEDDING):
            run.wait(name, f"http://127.0.0.1:{ports[name]}/health")
        if shape.slow_share < 1:
            quota = str(Path(__file__).with_name("_quota.py"))
            command = (sys.executable, quota, str(slow.pid), str(shape.slow_share))
            run.start("quota", command, cores.rest)
        config = folder / "gateway.toml"
        config.write_text(_config(shape, ports), encoding="utf-8")
        sage = str(Path(sys.executable).with_name("sage"))
        command = (sage, "gateway", "start", "--foreground", "--config", str(config))
        run.start("gateway", command, cores.rest)
        url = f"http://127.0.0.1:{ports['gateway']}"
        run.wait("gateway", f"{url}/ready")
        os.sched_setaffinity(0, cores.rest)
        yield Fleet(url)


def _llm(shape: Shape, port: int) -> tuple[str, ...]:
    command = (sys.executable, "-m", "sage.inference.engines.llama_cpp")
    command += ("--model", str(user_paths().models / CHAT_MODEL / "model.gguf"))
    command += ("--name", CHAT_MODEL, "--port", str(port))
    return (*command, "--slots", str(shape.slots), "--threads", "1")


def _embedding(port: int) -> tuple[str, ...]:
    command = (sys.executable, "-m", "sage.inference.embeddings.server", "--engine", "onnx")
    command += ("--model", str(user_paths().models / EMBEDDING_MODEL), "--name", EMBEDDING_MODEL)
    return (*command, "--port", str(port), "--threads", "1")


def _config(shape: Shape, ports: dict[str, int]) -> str:
    def backend(kind: str, name: str, model: str, slots: int) -> str:
        return (
            f'[[{kind}_backends]]\ninstance_id = "{name}"\nport = {ports[name]}\n'
            f'host = "127.0.0.1"\nmodel_name = "{model}"\nmax_concurrent_requests = {slots}\n'
        )

    return "\n".join(
        (
            f"port = {ports['gateway']}",
            'scheduling_policy = "round_robin"',
            backend("llm", FAST, CHAT_MODEL, shape.slots),
            backend("llm", SLOW, CHAT_MODEL, shape.slots),
            backend("embedding", EMBEDDING, EMBEDDING_MODEL, shape.embedding_slots),
        )
    )


class _Runner:
    """Starts processes that end with the stack, each with its log in the folder."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        models = {"SAGE_MODELS_DIR": str(user_paths().models)}
        self._environment = {**os.environ, **models, "SAGE_HOME": str(folder / "home")}

    def start(
        self, name: str, command: tuple[str, ...], cores: set[int]
    ) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        before = os.sched_getaffinity(0)
        # A child and its threads take over what its parent may use.
        os.sched_setaffinity(0, cores)
        try:
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        finally:
            os.sched_setaffinity(0, before)
        self._stack.callback(_end, process)
        self._processes[name] = process
        return process

    def wait(self, name: str, url: str) -> None:
        """Wait until ``url`` answers 200, or give up with the end of the process's log."""
        limit = time.monotonic() + _PATIENCE_S
        while time.monotonic() < limit and self._processes[name].poll() is None:
            with contextlib.suppress(OSError):
                _get(url)
                return
            time.sleep(0.1)
        log = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{name} does not answer at {url}:\n{log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = answer.read()
    return json.loads(body) if body.startswith(b"{") else body


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
