"""A tiny engine for the supervisor's tests: a real process with a health route, quick to start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.spec import EngineSpec
from sage.inference.scheduling.request import Kind

# Answers /health; /hang makes it stop answering; a worker is started to see whether it survives.
ENGINE = """
import http.server, signal, subprocess, sys, threading
hang = threading.Event()
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("worker", worker.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/hang":
            hang.set()
        if hang.is_set():
            self.send_response(503)
        else:
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve_forever()
"""

SpecFactory = Callable[..., EngineSpec]


@pytest.fixture
def engine_script(tmp_path: Path) -> Path:
    path = tmp_path / "engine.py"
    path.write_text(ENGINE, encoding="utf-8")
    return path


@pytest.fixture
def make_spec(engine_script: Path, free_port: int) -> SpecFactory:
    """Build a spec for the tiny engine, or for any other command."""

    def build(*command: str, id_: str = "llm-1", port: int = free_port) -> EngineSpec:
        return EngineSpec(
            id=id_,
            kind=Kind.LLM,
            engine=EngineKind.LLAMA_CPP,
            model="tiny",
            host="127.0.0.1",
            port=port,
            command=command or (sys.executable, str(engine_script), str(port)),
        )

    return build
