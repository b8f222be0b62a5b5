"""The actor that runs an engine on the node where Ray has put it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path

from sage.cluster.opening import load_ray
from sage.config.paths import UserPaths, user_paths
from sage.config.ports import LOOPBACK
from sage.config.settings import load_settings
from sage.errors import EngineStartError, SageError
from sage.inference.engines.command import engine_spec
from sage.inference.engines.health import HealthProbe
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.process import EngineProcess
from sage.inference.engines.remote.order import EngineOrder, Placed, Refused
from sage.inference.engines.remote.version import sage_version
from sage.inference.engines.resolve import resolve_model
from sage.inference.engines.spec import EngineSpec

_CHUNK = 256 << 10
_LOG_POLL_S = 0.2
_LOG_LOOKS = 25


class EngineActor:
    """Runs one engine as the supervisor of one machine does: same command, same guard, same log.

    The engine cannot outlive it: the guard ends the engine when this process is gone.

    Args:
        order: what to run.
    """

    def __init__(self, order: EngineOrder) -> None:
        self._order = order
        self._process: EngineProcess | None = None
        self._has_ended = False

    def __repr__(self) -> str:
        """Name the engine, as Ray's dashboard shows it."""
        return f"EngineActor({self._order.id})"

    async def hostname(self) -> str:
        """Return the node's name; an answer means that the actor has its place."""
        return socket.gethostname()

    async def start(self) -> Placed | Refused:
        """Start the engine on any free port; return where it is, or why it is not."""
        try:
            return await self._start()
        except SageError as error:
            return Refused(str(error), type(error))

    async def _start(self) -> Placed:
        here = sage_version()
        if here != self._order.version:
            raise EngineStartError(
                f"it has sage-stack {here}, and the gateway's machine {self._order.version}; "
                "install the same on both"
            )
        paths = user_paths()
        spec = await asyncio.to_thread(node_spec, self._order, _node_address(), paths)
        self._process = EngineProcess(spec, paths.logs / "ray" / self._order.stack)
        await self._process.start()
        process = self._process
        return Placed(spec, process.pid, process.started, process.log_start)

    async def ended(self) -> str:
        """Wait for the engine's end and say how it ended."""
        how = await self._running().ended()
        self._has_ended = True
        return how

    async def healthy(self) -> bool:
        """Whether the engine says, to its own node, that it is ready."""
        async with contextlib.aclosing(HealthProbe()) as probe:
            return await probe.healthy(self._running().spec.url)

    async def read_log(self, offset: int) -> bytes | None:
        """Return what the log has from a byte on, waiting a few seconds for something.

        Returns:
            At most 256 KiB; nothing when nothing came; None when the engine has ended and all of
            its log has been read.
        """
        log = self._running().log
        for _ in range(_LOG_LOOKS):
            over = self._has_ended  # looked at first: what is written before the end is read
            if data := await asyncio.to_thread(_read, log, offset):
                return data
            if over:
                return None
            await asyncio.sleep(_LOG_POLL_S)
        return b""

    async def stop(self, grace: float) -> None:
        """End the engine's whole process group: SIGTERM, and SIGKILL after ``grace`` seconds."""
        if self._process is not None:
            await self._process.stop(grace)
            self._has_ended = True

    def _running(self) -> EngineProcess:
        if self._process is None:
            raise RuntimeError(f"{self._order.id} was never started")
        return self._process


def node_spec(order: EngineOrder, address: str, paths: UserPaths) -> EngineSpec:
    """Return what this node runs for an order, on a port that is free here.

    Args:
        order: what is asked for.
        address: the node's, as other nodes reach it.
        paths: where this node's packaged models lie.

    Raises:
        ModelNotFoundError: the model is not on this node.
        ModelFileError: it is damaged, or of another kind.
        ConfigError: the engine cannot run it.
    """
    options = order.options
    if options.vllm_python is None and (python := load_settings().vllm_python):
        options = replace(options, vllm_python=python)
    external = frozenset({EngineKind.VLLM}) if options.vllm_python else frozenset()
    model = resolve_model(
        order.model, order.kind, engine=order.engine.value, paths=paths, external=external
    )
    host = LOOPBACK if address in order.home else address
    return engine_spec(order.id, model, host, _free_port(host), options, engines=order.engines)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _node_address() -> str:
    address: str = load_ray().util.get_node_ip_address()
    return address


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK)
