"""A stand of gateways under test: one engine stand-in on one core, the gateways on another."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import _peers
from _process import Process, free_port
from _streams import MODEL

_START_S = 90.0

# What every client asks: a short chat, as one turn of a conversation.
CHAT = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are the keeper of a lighthouse. Answer in two lines."},
        {"role": "user", "content": "What did you see from the lantern room last night?"},
    ],
    "max_tokens": 128,
    "temperature": 0.7,
}


@dataclass(frozen=True)
class Cores:
    """Which core runs what.

    Attributes:
        gateway: the gateways, of which one is loaded at a time.
        load: the clients and the engine stand-in.
    """

    gateway: int
    load: int


@dataclass(frozen=True)
class Gateway:
    """One that runs and answers."""

    name: str
    port: int
    process: Process
    shown: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"


@dataclass(frozen=True)
class Stand:
    """What runs: the engine stand-in's port, and the gateways before it by name.

    Attributes:
        backend: port of the engine stand-in.
        gateways: those that answer; one that fails later is taken out.
        missing: why each of the others is not there.
    """

    backend: int
    gateways: dict[str, Gateway]
    missing: dict[str, str]

    def drop(self, name: str, reason: str) -> None:
        """Leave a gateway out from here on.

        Raises:
            RuntimeError: it is SAGE, without which there is nothing to compare.
        """
        if name == "sage":
            raise RuntimeError(f"sage: {reason}")
        print(f"{name} is left out: {reason}", flush=True)
        self.missing[name] = reason
        del self.gateways[name]


@dataclass(frozen=True)
class Asked:
    """What every client sends.

    Attributes:
        key: the API key.
        body: of a chat request.
    """

    key: str
    body: str

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": "application/json", "authorization": f"Bearer {self.key}"}


def canned_engine(port: int, folder: Path) -> list[str]:
    """Return the command of the stand-in that answers whole."""
    return _peers.canned(port, folder).command


def streaming_engine(events: int, interval_ms: float) -> Callable[[int, Path], list[str]]:
    """Return a maker of the command of the stand-in that streams."""

    def command(port: int, _: Path) -> list[str]:
        script = str(Path(__file__).with_name("_streams.py"))
        return [sys.executable, script, str(port), str(events), str(interval_ms)]

    return command


def wait_until_answering(port: int, asked: Asked, process: Process) -> None:
    """Ask until a chat answer has come.

    Raises:
        RuntimeError: none came; tells the last failure and what the server wrote.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=asked.body.encode(),
        headers=asked.headers,
    )
    deadline = time.monotonic() + _START_S
    last = ""
    while time.monotonic() < deadline:
        if not process.alive:
            raise RuntimeError(f"it ended while starting: {process.log_tail()}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if b'"total_tokens"' in answer.read():
                    return
                last = "an answer that is not the engine's"
        except urllib.error.HTTPError as error:
            last = f"status {error.code}: {error.read()[:300]!r}"
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"no chat answer within {_START_S:.0f} s ({last}): {process.log_tail()}")


def _start(stack: ExitStack, place: _peers.Place, name: str, core: int, asked: Asked) -> Gateway:
    launch = _peers.GATEWAYS[name](place)
    process = stack.enter_context(
        Process(
            launch.command,
            core=core,
            log=place.folder / "log",
            environment=launch.environment,
        )
    )
    wait_until_answering(place.port, asked, process)
    return Gateway(name, place.port, process, launch.shown(place))


@contextmanager
def standing(
    folder: Path,
    names: Sequence[str],
    engine: Callable[[int, Path], list[str]],
    *,
    cores: Cores,
    asked: Asked,
) -> Iterator[Stand]:
    """Start the engine stand-in and the gateways, and end them all when the block is left.

    Args:
        folder: for files of this stand alone.
        names: of the gateways.
        engine: makes the stand-in's command from a port and a folder.
        cores: which core runs what.
        asked: a chat request that each must answer before the block begins.

    Raises:
        RuntimeError: the stand-in or SAGE does not start.
    """
    with ExitStack() as stack:
        backend = free_port()
        own = folder / "engine"
        own.mkdir(parents=True)
        process = Process(engine(backend, own), core=cores.load, log=own / "log")
        stack.enter_context(process)
        wait_until_answering(backend, asked, process)
        stand = Stand(backend, {}, {})
        for name in names:
            place = _peers.Place(free_port(), free_port(), backend, folder / name, asked.key)
            place.folder.mkdir()
            try:
                stand.gateways[name] = _start(stack, place, name, cores.gateway, asked)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if name == "sage":
                    raise
                stand.missing[name] = str(error)
                print(f"{name} is left out: {error}", flush=True)
        yield stand
