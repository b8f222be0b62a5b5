"""The packaged model, loaded once, and embedding servers in threads and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import numpy.typing as npt
import pytest

from sage.inference.embeddings.embedder import LocalEmbedder, PreparedText
from sage.inference.embeddings.hashing import HashEmbedder
from sage.inference.embeddings.onnx import OnnxEmbedder
from sage.inference.embeddings.server import EmbeddingServer, ServerOptions
from tests.conftest import MODELS_DIR

MINILM = MODELS_DIR / "all-minilm-l6-v2"


@pytest.fixture(scope="session")
def minilm() -> Iterator[OnnxEmbedder]:
    """The packaged embedding model."""
    embedder = OnnxEmbedder(MINILM)
    yield embedder
    embedder.close()


class GatedEmbedder(HashEmbedder):
    """Hashes words, but each call waits for the gate, and the word "poison" makes it fail."""

    def __init__(self) -> None:
        super().__init__(dim=16)
        self.gate = threading.Event()
        self.started = threading.Event()
        self.batches: list[int] = []
        self._poison = self.prepare(["poison"])[0].ids[0]

    def run(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        self.batches.append(len(batch))
        self.started.set()
        assert self.gate.wait(20)
        if any(self._poison in text.ids for text in batch):
            raise RuntimeError("poisoned")
        return super().run(batch)


@dataclass
class Server:
    """A running server and a client for it."""

    url: str
    client: httpx2.Client

    def embed(self, given: object, **fields: object) -> httpx2.Response:
        """POST /v1/embeddings."""
        return self.client.post("/v1/embeddings", json={"model": "m", "input": given, **fields})

    def metric(self, name: str) -> float:
        """One number of GET /metrics."""
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(one.split()[-1]) for one in lines if one.split()[0] == name)


def eventually(check: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until ``check`` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def answers(url: str) -> bool:
    """Whether the server is ready."""
    try:
        return httpx2.get(f"{url}/health", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


Serve = Callable[..., Server]


@pytest.fixture
def serve(free_port: int) -> Iterator[Serve]:
    """Start a server in a thread, with any embedder; it is drained at the end."""
    stops: list[Callable[[], None]] = []

    def start(embedder: LocalEmbedder, *, wait: bool = True, **options: object) -> Server:
        given = ServerOptions("-", "m", "onnx", "127.0.0.1", free_port, **options)  # type: ignore[arg-type]
        server = EmbeddingServer(given, load=lambda _: embedder)
        thread = threading.Thread(target=server.run)
        thread.start()
        url = f"http://127.0.0.1:{free_port}"
        client = httpx2.Client(base_url=url, timeout=20)

        def stop() -> None:
            client.close()
            server.stop()
            thread.join(20)
            assert not thread.is_alive()

        stops.append(stop)
        if wait:
            eventually(lambda: answers(url))
        return Server(url, client)

    yield start
    for stop in stops:
        stop()


def start_process(port: int, *options: str, model: Path = MINILM) -> subprocess.Popen[str]:
    """Start the server's own process."""
    command = [sys.executable, "-m", "sage.inference.embeddings.server", "--name", "m"]
    command += ["--model", str(model), "--port", str(port), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
