"""What engines tell of themselves on their ``/metrics`` page, while they work for us."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from dataclasses import dataclass

from sage.errors import ConfigError, UpstreamError
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.desk import Desk
from sage.inference.gateway.errors import ConnectFailedError
from sage.inference.gateway.probe import fetch

logger = logging.getLogger("sage.gateway")

_PAGE = b"/metrics"
# The names are vLLM's (the older one of its cache's last) and llama.cpp's.
_RUNNING = ("vllm:num_requests_running", "llamacpp:requests_processing")
_WAITING = ("vllm:num_requests_waiting", "llamacpp:requests_deferred")
_CACHE = (
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "llamacpp:kv_cache_usage_ratio",
)
_SAMPLE = re.compile(
    rf"^({'|'.join((*_RUNNING, *_WAITING, *_CACHE))})(?:\{{[^\n]*\}})?[ \t]+(\S+)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class TelemetryRule:
    """How engines are asked.

    Attributes:
        interval: seconds between two questions to an engine that works; above zero.
        timeout: seconds an answer may take; above zero.
    """

    interval: float = 1.0
    timeout: float = 2.0

    def __post_init__(self) -> None:
        for name in ("interval", "timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"telemetry {name} is {value}; it must be above 0")


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What a page says.

    Attributes:
        running: requests the engine computes.
        waiting: requests in its own queue.
        kv_used: share of its KV cache in use, 0 to 1; 0 when it does not tell.
    """

    running: int
    waiting: int
    kv_used: float


def parse_report(page: str) -> EngineReport | None:
    """Return what a Prometheus page of vLLM or llama.cpp says; None for any other page.

    Of an engine with several ranks, requests are added up and shares are averaged.
    """
    samples: dict[str, list[float]] = {}
    for name, text in _SAMPLE.findall(page):
        try:
            value = float(text)
        except ValueError:
            continue
        if 0.0 <= value < float("inf"):
            samples.setdefault(name, []).append(value)

    def values(names: tuple[str, ...]) -> list[float]:
        return next((samples[name] for name in names if name in samples), [])

    running, waiting, cache = values(_RUNNING), values(_WAITING), values(_CACHE)
    if not running or not waiting:
        return None
    share = sum(cache) / len(cache) if cache else 0.0
    return EngineReport(round(sum(running)), round(sum(waiting)), min(1.0, share))


class Telemetry:
    """Asks engines how much they have to do, about once a second for as long as they have any.

    It runs beside the requests: ``tick`` starts a task for each engine that is due. An engine
    that has no such page, or another kind of page, is asked once and then left alone.

    Args:
        desk: the gateway's, whose scheduler is told.
        rule: how often and how patiently.
    """

    def __init__(self, desk: Desk, rule: TelemetryRule) -> None:
        self._desk = desk
        self._rule = rule
        self._due: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._silent: set[Backend] = set()

    def tick(self, now: float) -> None:
        """Time has passed: ask those that work and have not been asked for an interval."""
        for state in self._desk.scheduler.instances():
            id_ = state.spec.id
            if not (state.up and state.running) or id_ in self._tasks:
                continue
            if now < self._due.get(id_, now):
                continue
            backend = self._desk.backends[id_]
            if backend not in self._silent:
                self._due[id_] = now + self._rule.interval
                task = asyncio.get_running_loop().create_task(self._ask(backend))
                self._tasks[id_] = task
                task.add_done_callback(functools.partial(self._ended, id_))

    def _ended(self, id_: str, _: asyncio.Task[None]) -> None:
        del self._tasks[id_]

    def forget(self, backend: Backend) -> None:
        """It is gone."""
        self._silent.discard(backend)
        self._due.pop(backend.id, None)

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, backend: Backend) -> None:
        try:
            async with asyncio.timeout(self._rule.timeout):
                status, body = await fetch(backend, _PAGE)
        except (TimeoutError, ConnectFailedError, UpstreamError) as error:
            # What ails it is for its probe and its breaker; a busy one is asked again.
            logger.debug("instance %s did not tell of itself: %r", backend.id, error)
            return
        desk = self._desk
        if desk.backends.get(backend.id) is not backend:
            return
        report = parse_report(body.decode("utf-8", "replace")) if status == 200 else None
        if report is None:
            self._silent.add(backend)
            why = f"answers {status}" if status != 200 else "has none of the figures we know"
            logger.debug("instance %s is not asked again: its /metrics %s", backend.id, why)
            return
        desk.apply(
            desk.scheduler.telemetry(
                backend.id,
                desk.clock(),
                running=report.running,
                waiting=report.waiting,
                kv_used=report.kv_used,
            )
        )
