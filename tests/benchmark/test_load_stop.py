"""Breaking a load off."""

from __future__ import annotations

import asyncio

import uvloop

from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.connection import LoadConnection
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import plan_requests
from sage.inference.gateway.target import parse_target

from .server import TinyServer


class _StopsWhenConnected(Load):
    """Is told to stop at the moment a connection is made, before its request has it."""

    def opened(self, connection: LoadConnection) -> None:
        super().opened(connection)
        self.stop()


def test_a_connection_made_at_that_moment_does_not_hold_it_up() -> None:
    """The event loop closes it without a word; waiting for that word would take for ever."""
    with TinyServer() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        target = parse_target(server.url)
        writer = RequestWriter(target, Models("chat", None), built_in_text())
        requests = plan_requests(LLMBenchmarkConfig(requests=5, rate=1000))

        async def run() -> LoadResult:
            async with asyncio.timeout(10):
                return await _StopsWhenConnected(target, writer).run(requests)

        result = runner.run(run())
    assert len(result.exchanges) + result.unsent == 5
    assert all(exchange.interrupted for exchange in result.exchanges)
