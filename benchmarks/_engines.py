"""Engines by themselves, each on the cores that the client leaves, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from sage.config.paths import user_paths

ROOT = Path(__file__).parents[1]
CHAT_MODEL = "smollm2-135m-instruct"
_PATIENCE_S = 240.0
_TINY = (
    "import pathlib, sys; from extra_tests.tiny_llama import Shape, make_tiny_llama; "
    "make_tiny_llama(pathlib.Path(sys.argv[1]), "
    "pathlib.Path('examples/data/eddystone.txt').read_text().splitlines(), "
    # Large enough for steps of some ten milliseconds on a core, which can be told apart.
    "shape=Shape(hidden=768, layers=5))"
)


def split_cores() -> tuple[set[int], set[int]]:
    """Return the client's core and those of the engine; one core is shared."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, set(cores[1:] or cores)


@contextlib.contextmanager
def llama_cpp(slots: int) -> Iterator[str]:
    """Run llama.cpp's server with the packaged chat model; give its URL."""
    port = _free_port()
    threads = len(split_cores()[1])
    command = (
        *(sys.executable, "-m", "sage.inference.engines.llama_cpp", "--name", CHAT_MODEL),
        *("--model", str(user_paths().models / CHAT_MODEL / "model.gguf")),
        *("--port", str(port), "--slots", str(slots), "--threads", str(threads)),
    )
    with _running(command, port) as url:
        yield url


@contextlib.contextmanager
def vllm_cpu(python: Path, slots: int) -> Iterator[str]:
    """Run vLLM on the CPU with a Llama of 42 million weights made on the spot; give its URL.

    Its computing threads keep to the cores that the client leaves; its server, which is a process
    by itself, may use the client's too, or each arrival would stop a step.

    Args:
        python: of an environment that has vLLM, as `make test-vllm` makes it.
        slots: requests of a step.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "tiny-llama")
        subprocess.run([str(python), "-c", _TINY, model], cwd=ROOT, check=True)
        command = (
            *(str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", model),
            *("--served-model-name", "tiny-llama", "--port", str(port), "--host", "127.0.0.1"),
            *("--max-num-seqs", str(slots), "--max-num-batched-tokens", "2048"),
            *("--max-model-len", "1024", "--enable-prompt-tokens-details"),
            "--enforce-eager",  # compiling takes a minute
        )
        threads = ",".join(map(str, sorted(split_cores()[1])))
        more = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": threads,
            "HF_HUB_OFFLINE": "1",
        }
        with _running(command, port, more, anywhere=True) as url:
            yield url


@contextlib.contextmanager
def _running(
    command: Sequence[str],
    port: int,
    environment: dict[str, str] | None = None,
    *,
    anywhere: bool = False,
) -> Iterator[str]:
    for name in (signal.SIGTERM, signal.SIGHUP):
        # A plain kill must not leave an engine behind.
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    client, engine = split_cores()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        # A child takes over what its parent may use.
        os.sched_setaffinity(0, client | engine if anywhere else engine)
        try:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, client)
        try:
            _wait(process, f"{url}/health", log)
            yield url
        finally:
            _end(process)
            os.sched_setaffinity(0, client | engine)


def _wait(process: subprocess.Popen[bytes], url: str, log: object) -> None:
    limit = time.monotonic() + _PATIENCE_S
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    log.seek(0)  # type: ignore[attr-defined] # a temporary file
    said = log.read()[-2000:].decode(errors="replace")  # type: ignore[attr-defined]
    raise SystemExit(f"the engine does not answer at {url}:\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
