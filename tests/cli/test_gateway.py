"""``sage gateway`` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from tests.support import running, wait_until

SAGE = str(Path(sys.executable).parent / "sage")


def sage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAGE, "gateway", *arguments], capture_output=True, text=True, check=False, timeout=30
    )


class Engine(BaseHTTPRequestHandler):
    """Is well, and answers every request with an empty object."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()


@pytest.fixture
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def stopped() -> Iterator[None]:
    yield
    sage("stop")


def chat(url: str, model: str) -> int:
    return httpx2.post(f"{url}/chat/completions", json={"model": model}).status_code


@pytest.mark.usefixtures("stopped")
def test_start_status_reload_logs_stop(engine: str, tmp_path: Path) -> None:
    """The life of a gateway with a file, to which the command line adds."""
    path = tmp_path / "gateway.toml"
    path.write_text(f'[[llm_backends]]\nbase_url = "{engine}"\nmodel_name = "a"\n')
    started = sage("start", "--background", "--config", str(path), "--port", "0")
    assert started.returncode == 0, started.stderr
    assert "the gateway serves http://127.0.0.1:" in started.stdout
    report = json.loads(sage("status", "--json").stdout)
    assert report["status"] == "ok"
    assert chat(report["url"], "a") == 200
    table = sage("status")
    assert table.returncode == 0
    assert "up" in table.stdout

    again = sage("start", "--background", "--port", "0")
    assert again.returncode == 4
    assert f"a gateway is running already: pid {report['pid']}" in again.stderr

    path.write_text(f'[[llm_backends]]\nbase_url = "{engine}"\nmodel_name = "b"\n')
    assert sage("reload").returncode == 0
    wait_until(lambda: chat(report["url"], "b") == 200)
    path.write_text("prot = 1\n")
    wrong = sage("reload")
    assert wrong.returncode == 2
    assert "did you mean 'port'" in wrong.stderr
    assert chat(report["url"], "b") == 200

    assert "reloaded: 1 backends" in sage("logs").stdout
    assert sage("stop").stdout == "stopped the gateway\n"
    assert running([report["pid"]]) == []
    assert sage("stop").stdout == "no gateway is running\n"
    assert sage("status").returncode == 1


@pytest.mark.usefixtures("stopped")
def test_a_backend_that_is_not_there_yet(tmp_path: Path) -> None:
    """The gateway starts all the same, and says which instance is down and why."""
    started = sage("start", "--background", "--port", "0", "--llm", "m=http://localhost:9")
    assert started.returncode == 0, started.stderr
    status = sage("status")
    assert status.returncode == 1
    assert "refused" in " ".join(status.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--llm", "http://localhost:1"), "MODEL=URL"),
        (("--policy", "fifi"), "did you mean 'fifo'"),
        (("--config", "missing.toml"), "cannot be read"),
        (("--port", "70000"), "port must be from 0 to 65535"),
    ],
)
def test_mistakes_are_told_at_once(arguments: tuple[str, ...], says: str) -> None:
    """In one line, with exit code 2, also for a gateway in the background."""
    told = sage("start", "--background", *arguments)
    assert told.returncode == 2
    assert says in told.stderr
    assert told.stderr.count("\n") == 1
