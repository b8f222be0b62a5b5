"""A load and its server in time that is reckoned, not waited for: no neighbour can disturb it."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.summary import Summary, summarise
from sage.benchmark.verdict import Verdict, judge
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import plan_requests
from sage.inference.gateway.target import parse_target

from .server import Handler, TinyServer

_SHORTEST_S = 1e-6  # what is left after rounding must not stop time


class _Jumps(selectors.DefaultSelector):
    """Where nothing can be read or written, the wait for the next timer is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready, else move the time on; without a timer wait as ever."""
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            return super().select(None)
        self.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while there is work, and jumps to the next timer.

    Everything that takes part must be in this loop, over Unix sockets: what is sent through one
    can be read at once, which TCP does not promise.
    """

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        """Return the seconds reckoned until now."""
        return self._jumps.now

    def work(self, seconds: float) -> None:
        """Let what is running now take so long."""
        self._jumps.now += seconds


class _LoopAlarm:
    """The loop's own timer, which is exact where time is reckoned."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        self.close()
        self._handle = self._loop.call_later(max(_SHORTEST_S, seconds), self._fire)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class VirtualRun(NamedTuple):
    """What came of a load in virtual time."""

    summary: Summary
    verdict: Verdict
    load: LoadResult


def run_in_virtual_time(
    handler: Handler,
    hybrid: bool = False,
    *,
    on_answer: Callable[[Exchange], None] | None = None,
    **options: Any,
) -> VirtualRun:
    """Send a load, of constant arrivals by default, to a server that answers by ``handler``."""
    kind = HybridBenchmarkConfig if hybrid else LLMBenchmarkConfig
    config = kind(**{"warmup_requests": 0, "arrival": ArrivalPattern.CONSTANT, **options})
    config.validate()
    users = config.users if config.arrival is ArrivalPattern.CLOSED else 0
    models = Models("chat", "embed")

    async def run() -> LoadResult:
        async with _serving(handler) as url:
            target = parse_target(url)
            load = Load(
                target,
                RequestWriter(target, models, built_in_text()),
                timeout_s=config.timeout_s,
                max_in_flight=config.max_in_flight,
                on_answer=on_answer,
                clock=asyncio.get_running_loop().time,
                alarm=_LoopAlarm,
            )
            return await load.run(plan_requests(config), users=users, think_s=config.think_s)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        result = runner.run(run())
    return VirtualRun(summarise(result, config, models), judge(result), result)


@contextlib.asynccontextmanager
async def _serving(handler: Handler) -> AsyncIterator[str]:
    # A test's own folder may have a longer name than a Unix socket can.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        async with TinyServer(handler).listening(path):
            yield f"http+unix://{quote(str(path), safe='')}"
