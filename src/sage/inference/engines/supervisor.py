"""Keeps engines running: starts them, waits for health, restarts the dead, stops them all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sage.errors import EngineStartError, SageError
from sage.inference.engines.health import HealthProbe
from sage.inference.engines.process import EngineProcess
from sage.inference.engines.restarts import RestartRule, RestartState
from sage.inference.engines.runner import EngineRunner
from sage.inference.engines.spec import EngineSpec

logger = logging.getLogger("sage.engines")


class EngineStatus(StrEnum):
    """Where an engine is in its life."""

    STARTING = "starting"
    HEALTHY = "healthy"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait for what, in seconds.

    Attributes:
        start: until a starting engine must be healthy. vLLM takes minutes to load and compile.
        poll: between two looks at a starting engine.
        check: between two looks at a healthy one.
        stop: between SIGTERM and SIGKILL.
        misses: failed checks in a row after which a running engine counts as hung.
    """

    start: float = 600.0
    poll: float = 0.05
    check: float = 5.0
    stop: float = 10.0
    misses: int = 6


class SupervisedEngine:
    """One engine and what is known of it."""

    def __init__(self, process: EngineRunner, restarts: RestartState) -> None:
        self.process = process
        self.status = EngineStatus.STARTING
        self.deaths = 0
        self.restarts = restarts

    @property
    def spec(self) -> EngineSpec:
        """What runs, and where."""
        return self.process.spec


Listener = Callable[[EngineSpec], None]
MakeRunner = Callable[[EngineSpec, Path], EngineRunner]


class Supervisor:
    """Runs a set of engines.

    Args:
        specs: the engines.
        logs: folder of their log files.
        on_up: called when an engine has become healthy, each time.
        on_down: called with the reason when one that was healthy is no longer.
        on_change: called after any engine's pid or status has changed.
        rule: when and how fast to restart.
        timing: how long to wait for what.
        clock: seconds, for counting deaths over time.
        seed: of the restart jitter.
        run: makes what runs an engine, from its spec and the folder of its log.
    """

    def __init__(
        self,
        specs: Sequence[EngineSpec],
        logs: Path,
        *,
        on_up: Listener = lambda _: None,
        on_down: Callable[[EngineSpec, str], None] = lambda *_: None,
        on_change: Callable[[], None] = lambda: None,
        rule: RestartRule | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
        run: MakeRunner = EngineProcess,
    ) -> None:
        rule = rule or RestartRule()
        self.engines = [
            SupervisedEngine(run(spec, logs), RestartState(rule, seed + number))
            for number, spec in enumerate(specs)
        ]
        self._on_up = on_up
        self._on_down = on_down
        self._on_change = on_change
        self._timing = timing or Timing()
        self._clock = clock
        self._probe = HealthProbe()
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all engines and wait until each is healthy.

        Raises:
            EngineStartError: one did not become healthy; all are stopped again.
        """
        starting = [asyncio.create_task(self._bring_up(engine)) for engine in self.engines]
        try:
            # gather hands on the first failure at once; the rest is stopped below.
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self.stop()
            raise
        self._keepers = [asyncio.create_task(self._keep(engine)) for engine in self.engines]

    async def stop(self) -> None:
        """Stop every engine with its whole process group."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(engine.process.stop(self._timing.stop) for engine in self.engines))
        for engine in self.engines:
            self._set(engine, EngineStatus.STOPPED)
        await self._probe.aclose()

    async def _bring_up(self, engine: SupervisedEngine) -> None:
        """Start an engine and wait for its health."""
        await engine.process.start()
        self._on_change()
        exited = asyncio.create_task(engine.process.ended())
        try:
            async with asyncio.timeout(self._timing.start):
                while True:
                    healthy = await self._probe.healthy(engine.spec.url)
                    # Looked at second: an answer may come from another process on the port.
                    if exited.done():
                        raise _died_starting(engine, exited.result())
                    if healthy:
                        break
                    if cut_off := await engine.process.unreachable():
                        raise EngineStartError(cut_off)
                    await asyncio.wait([exited], timeout=self._timing.poll)
        except TimeoutError:
            raise EngineStartError(
                f"{engine.spec.id} ({engine.spec.model}) was not healthy within "
                f"{self._timing.start:.0f} s; its log: {engine.process.log}",
                log_tail=engine.process.last_lines(),
            ) from None
        finally:
            exited.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await exited
        self._set(engine, EngineStatus.HEALTHY)
        self._on_up(engine.spec)

    async def _keep(self, engine: SupervisedEngine) -> None:
        """Restart an engine each time it ends, until its restarts are used up."""
        while True:
            reason = await self._until_down(engine)
            engine.deaths += 1
            logger.warning("%s %s", engine.spec.id, reason)
            self._set(engine, EngineStatus.RESTARTING)
            self._on_down(engine.spec, reason)
            if not await self._revive(engine):
                return

    async def _revive(self, engine: SupervisedEngine) -> bool:
        """Try to bring an engine back; False when it is given up."""
        while (delay := engine.restarts.died(self._clock())) is not None:
            await asyncio.sleep(delay)
            try:
                await self._bring_up(engine)
            except SageError as error:
                engine.deaths += 1
                logger.warning("%s", error)
                await engine.process.stop(self._timing.stop)
            else:
                return True
        self._set(engine, EngineStatus.FAILED)
        logger.error(
            "%s is given up after %d deaths; its last lines: %s",
            engine.spec.id,
            engine.deaths,
            " | ".join(engine.process.last_lines()[-3:]),
        )
        return False

    async def _until_down(self, engine: SupervisedEngine) -> str:
        """Wait until an engine has ended or hangs; return why it is down."""
        exited = asyncio.create_task(engine.process.ended())
        misses = 0
        try:
            while misses < self._timing.misses:
                await asyncio.wait([exited], timeout=self._timing.check)
                if exited.done():
                    return exited.result()
                misses = 0 if await self._probe.healthy(engine.spec.url) else misses + 1
        finally:
            exited.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await exited
        await engine.process.stop(self._timing.stop)
        return f"did not answer {misses} health checks in a row and was stopped"

    def _set(self, engine: SupervisedEngine, status: EngineStatus) -> None:
        engine.status = status
        self._on_change()


def _died_starting(engine: SupervisedEngine, how: str) -> EngineStartError:
    spec = engine.spec
    return EngineStartError(
        f"{spec.id} ({spec.model} on {spec.engine.value}) {how} while starting; "
        f"its log: {engine.process.log}",
        log_tail=engine.process.last_lines(),
    )
