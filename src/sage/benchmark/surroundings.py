"""What is looked at beside a run: the servers' own pages and this machine's GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sage.benchmark.gpus import GpuWatch
from sage.benchmark.server_pages import ServerPages, ServerReport
from sage.benchmark.target import Found
from sage.dataflow.gpu import GpuReading


@dataclass(slots=True)
class Surroundings:
    """What was seen beside a run.

    Attributes:
        servers: each server's own account of it, the target's first.
        gpus: of this machine; empty where there is none, or no nvidia-ml-py to read it.
    """

    servers: list[ServerReport] = field(default_factory=list)
    gpus: list[GpuReading] = field(default_factory=list)


@asynccontextmanager
async def surroundings(found: Found) -> AsyncIterator[Surroundings]:
    """Look around at the block's begin and end; what was seen is filled in at its end.

    The looks themselves are outside the block, so that they do not disturb what is measured in it.
    """
    seen = Surroundings()
    pages, gpus = ServerPages(found), GpuWatch()
    await asyncio.to_thread(pages.begin)
    gpus.begin()
    try:
        yield seen
    finally:
        seen.gpus = list(gpus.end())
    seen.servers = await asyncio.to_thread(pages.end)
