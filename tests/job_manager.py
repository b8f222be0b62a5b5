"""A real job manager in a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import psutil

from sage.config.paths import UserPaths
from sage.dataflow import RemoteEnvironment
from sage.dataflow.jobs.client import ManagerClient
from sage.inference.engines.state import read_state
from tests.support import wait_until


class ManagerProcess:
    """A job manager with a home of its own, on any free port; left, it leaves nothing running.

    Args:
        home: becomes its ``SAGE_HOME``.
        options: more of ``sage jobmanager start``.
    """

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.root = home / "jobs"
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        try:
            if kind is None:
                wait_until(lambda: not self.drivers())
        finally:
            # Of a test that failed, which a fixture is not told.
            for pid in self.drivers():
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def token(self) -> str:
        return (self.root / "token").read_text().strip()

    @property
    def log(self) -> str:
        return (self.home / "manager.log").read_text()

    def start(self) -> None:
        """Start it; a second time on the port that it had."""
        command = [sys.executable, "-m", "sage", "jobmanager", "start", "--foreground"]
        command += ["--port", str(self.port), *self._options]
        self.home.mkdir(exist_ok=True)
        with (self.home / "manager.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "SAGE_HOME": str(self.home)}
            )
        wait_until(self._ready)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        paths = UserPaths(*(self.home / name for name in ("", "", "state", "logs", "cache")))
        state = read_state(paths, "jobmanager")
        if state is None or state.pid != self._process.pid:
            return False
        self.port = state.gateway_port
        return True

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(timeout=20) == -signal.SIGKILL

    def drivers(self) -> list[int]:
        """Return the pids of the drivers of its jobs that run."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            mine = any(word.startswith(str(self.root)) for word in words)
            if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        return found

    def environment(self, name: str = "test", **config: Any) -> RemoteEnvironment:
        """Return an environment that submits to it."""
        return RemoteEnvironment(name, port=self.port, config=config, token=self.token)

    def client(self, **options: Any) -> ManagerClient:
        """Return a client of it."""
        return ManagerClient(port=self.port, **{"token": self.token, **options})


# A client as users write one. Its job's driver is killed after a checkpoint; all its classes are
# of the main module or of one beside it.
SCRIPT = """
import dataclasses, os, pathlib, signal, sys, time
from helpers import Price
from sage import RemoteEnvironment

@dataclasses.dataclass
class Total:
    sum: int = 0

class Summed:
    def open(self, context):
        self.total = Total()
    def execute(self, record):
        while record.cents == 100 and not pathlib.Path(GO).exists():
            time.sleep(0.01)
        if record.cents < 100:
            time.sleep(0.005)
        self.total.sum += record.cents
        return dataclasses.replace(self.total)
    def snapshot(self):
        return self.total
    def restore(self, state):
        assert type(state) is Total
        self.total = state

GO = str(pathlib.Path("go").absolute())
config = {"batch_size": 1, "checkpoint": {"dir": "checkpoints", "interval": 0.02}}
if len(sys.argv) > 2:
    config["ray"] = {"address": sys.argv[2]}
env = RemoteEnvironment("script", port=int(sys.argv[1]), config=config)
out = []
env.from_collection(range(200)).map(Price).map(Summed()).sink(out)
job = env.submit()
while not (job.view.progress and job.view.progress.checkpoints):
    time.sleep(0.02)
os.kill(job.view.pid, signal.SIGKILL)
pathlib.Path("go").touch()
result = job.wait()
assert all(type(total) is Total for total in out), out
print(result.status, result.restarts, result.resumed_from > 0, len(out), out[-1].sum)
"""


def run_script(manager: ManagerProcess, *arguments: str) -> str:
    """Run the script in the current folder and return what it prints."""
    Path("job.py").write_text(SCRIPT)
    Path("helpers.py").write_text("class Price:\n    def __init__(self, c): self.cents = c\n")
    done = subprocess.run(
        [sys.executable, str(Path("job.py").absolute()), str(manager.port), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SAGE_JOB_MANAGER_TOKEN": manager.token},
    )
    assert not done.stderr, done.stderr
    return done.stdout
