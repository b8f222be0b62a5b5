"""One engine on the cluster, as the supervisor of this machine keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sage.cluster.connect import RayCluster
from sage.config.logs import open_log, tail
from sage.errors import (
    ConfigError,
    EngineStartError,
    ModelFileError,
    ModelNotFoundError,
    ResourceError,
    SageError,
)
from sage.inference.engines.remote.actor import EngineActor
from sage.inference.engines.remote.answers import answer, asked, why
from sage.inference.engines.remote.order import EngineOrder, Placed, Refused
from sage.inference.engines.remote.placement import misfit
from sage.inference.engines.remote.rooms import rooms
from sage.inference.engines.spec import EngineSpec

logger = logging.getLogger("sage.engines")

_TAIL_LINES = 15
_LOOK_S = 1.0
# Looks without a place after which the lack of room is said, and is an error where nobody waits.
# Room that an actor has just taken looks like a lack while its process starts.
_LOOKS_TO_SAY = 5
_LOOKS_TO_FAIL = 30
_LOG_END_S = 2.0
_STOP_SLACK_S = 5.0
# How often, and how far apart, its node must find an engine well that this machine cannot reach.
_REACH_LOOKS = 3
_REACH_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class _Life:
    """An actor with its place and its log, from start to end."""

    actor: Any
    node: str
    placed: Placed
    pump: asyncio.Task[None]


class RayEngine:
    """Runs an engine in an actor; each start is a new actor, on whichever node has room.

    Ray does not restart the actor: a new one has another address, which the gateway must know
    before any request goes there, so the supervisor, which tells the gateway, does it.

    Args:
        order: what to run.
        provisional: its spec until it has an address.
        logs: folder of the log files on this machine.
        cluster: where it runs, connected.
        on_change: called when its note has changed.
    """

    def __init__(
        self,
        order: EngineOrder,
        provisional: EngineSpec,
        logs: Path,
        cluster: RayCluster,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = logs / f"{order.id}.log"
        self.note = ""
        self._order = order
        self._spec = provisional
        self._cluster = cluster
        self._on_change = on_change
        self._actor: Any = None
        self._life: _Life | None = None
        self._log_start = 0
        self._was_placed = False
        self._has_ended = False
        self._looks_well = 0
        self._next_look = 0.0

    @property
    def spec(self) -> EngineSpec:
        """What runs, with the address of the last start."""
        return self._spec

    @property
    def pid(self) -> int | None:
        """The engine's pid on its node while it runs."""
        return self._life.placed.pid if self._life and not self._has_ended else None

    @property
    def started(self) -> float | None:
        """When it was started, by its node's clock, while it runs."""
        return self._life.placed.started if self._life and not self._has_ended else None

    @property
    def node(self) -> str | None:
        """The name of its node; empty while it has none."""
        return self._life.node if self._life else ""

    async def start(self) -> None:
        """Have Ray place an actor, and the actor start the engine.

        An engine that has run before, or whose cluster is waited for, waits for room.

        Raises:
            ResourceError: no node has room; names what is needed and what is free.
            ModelError: its node does not have the model; names the node.
            EngineStartError: it cannot be started on its node.
        """
        await self._drop()
        self._actor = await asyncio.to_thread(self._create)
        try:
            node = await self._place()
            placed = await answer(self._actor.start.remote())
        except self._cluster.ray.exceptions.RayError as error:
            raise EngineStartError(
                f"{self._order.id} cannot be started on the cluster: {why(error)}"
            ) from error
        if isinstance(placed, Refused):
            raise _refusal(placed, f"{self._order.id} on node {node}")
        log = self._open_log()
        self._log_start = log.tell()
        pump = asyncio.create_task(self._pump(self._actor, log, placed.log_start))
        self._life = _Life(self._actor, node, placed, pump)
        self._spec = placed.spec
        self._was_placed = True
        self._has_ended = False
        self._looks_well = 0

    async def ended(self) -> str:
        """Wait until the engine, its actor or its node is gone; say which and why."""
        life = self._life
        if life is None:
            raise RuntimeError(f"{self._order.id} was never started")
        try:
            how: str = await answer(life.actor.ended.remote())
            self._has_ended = True
        except self._cluster.ray.exceptions.RayError as error:
            self._has_ended = True
            return f"was lost with its actor on node {life.node}: {why(error)}"
        await asyncio.wait([life.pump], timeout=_LOG_END_S)
        return how

    async def unreachable(self) -> str | None:
        """Say that its node finds it well while this machine, as the caller sees, does not."""
        now = asyncio.get_running_loop().time()
        if self._life is None or now < self._next_look:
            return None
        self._next_look = now + _REACH_LOOK_S
        with contextlib.suppress(self._cluster.ray.exceptions.RayError):
            well = await answer(self._life.actor.healthy.remote())
            self._looks_well = self._looks_well + 1 if well else 0
        if self._looks_well < _REACH_LOOKS:
            return None
        return (
            f"{self._order.id} is well on node {self.node}, but this machine cannot reach "
            f"{self._spec.url}; open that way, or run `sage llm serve` where it is open"
        )

    async def stop(self, grace: float) -> None:
        """End the engine's process group, then its actor, wherever they are."""
        life = self._life
        if life is not None:
            with contextlib.suppress(self._cluster.ray.exceptions.RayError, TimeoutError):
                async with asyncio.timeout(grace + _STOP_SLACK_S):
                    await answer(life.actor.stop.remote(grace))
                    await asyncio.wait([life.pump], timeout=_LOG_END_S)
        await self._drop()

    def last_lines(self) -> list[str]:
        """Return the last log lines of this run, as far as they have come here."""
        return tail(self.log, _TAIL_LINES, start=self._log_start)

    def _create(self) -> Any:
        need = self._order.need
        remote = self._cluster.ray.remote(EngineActor)
        return remote.options(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        ).remote(self._order)

    async def _place(self) -> str:
        """Wait until the actor runs; return its node."""
        hostname = asked(self._actor.hostname.remote())
        looks = 0
        try:
            while not (await asyncio.wait([hostname], timeout=_LOOK_S))[0]:
                short = await asyncio.to_thread(self._shortage)
                looks = looks + 1 if short else 0
                if short and looks >= _LOOKS_TO_FAIL and not self._may_wait():
                    raise ResourceError(f"{self._order.id}: {short}")
                if looks == 0 or looks >= _LOOKS_TO_SAY:
                    self._tell(f"waits for room: {short}" if short else "")
        finally:
            self._tell("")
        node: str = hostname.result()
        return node

    def _may_wait(self) -> bool:
        return self._was_placed or self._cluster.config.wait

    def _shortage(self) -> str | None:
        return misfit([self._order.need], rooms(self._cluster))

    def _tell(self, note: str) -> None:
        if note == self.note:
            return
        if note:
            logger.warning("%s %s", self._order.id, note)
        self.note = note
        self._on_change()

    async def _drop(self) -> None:
        """Kill the actor that there is; its engine's guard then ends the engine."""
        actor, self._actor = self._actor, None
        life, self._life = self._life, None
        if life is not None:
            life.pump.cancel()
            await asyncio.gather(life.pump, return_exceptions=True)
        if actor is not None:
            with contextlib.suppress(self._cluster.ray.exceptions.RayError):
                await asyncio.to_thread(self._cluster.ray.kill, actor)

    def _open_log(self) -> BinaryIO:
        try:
            return open_log(self.log)
        except OSError as error:
            raise EngineStartError(
                f"cannot start {self._order.id}: {error.strerror or error} ({self.log})"
            ) from error

    async def _pump(self, actor: Any, file: BinaryIO, offset: int) -> None:
        """Write here what the engine prints there, until there is no more."""
        with file, contextlib.suppress(self._cluster.ray.exceptions.RayError):
            while (data := await answer(actor.read_log.remote(offset))) is not None:
                _append(file, data)
                offset += len(data)


def _append(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


def _refusal(refused: Refused, where: str) -> SageError:
    message = f"{where}: {refused.message}"
    for kind in (ModelNotFoundError, ModelFileError, ConfigError):
        if issubclass(refused.error, kind):
            return kind(message)
    return EngineStartError(message)
