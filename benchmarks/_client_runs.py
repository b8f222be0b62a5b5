"""What the client benchmark runs: sage-cp-bench's load, and wrk, against the null servers."""

from __future__ import annotations

import asyncio
import itertools
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _wrk
import uvloop
from _stand import Asked
from _streams import MODEL

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.statistics import percentile
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import plan_requests
from sage.inference.gateway.target import parse_target

_SEEDS = itertools.count()


@dataclass(frozen=True)
class Case:
    """One way to load.

    Attributes:
        name: as results have it.
        users: of a closed loop; 0 for an open one.
        rate: requests per second of an open loop, at Poisson moments.
        requests: how many.
        events: events of each streamed answer; 0 for whole answers.
    """

    name: str
    users: int
    rate: float
    requests: int
    events: int = 0


def run(case: Case, url: str) -> dict[str, float]:
    """Load once; every answer must be good.

    Raises:
        RuntimeError: one was not.
    """
    pattern = ArrivalPattern.CLOSED if case.users else ArrivalPattern.POISSON
    config = LLMBenchmarkConfig(
        requests=case.requests,
        arrival=pattern,
        rate=case.rate or 1.0,
        users=case.users or 1,
        stream=bool(case.events),
        seed=next(_SEEDS),
    )
    begun = time.thread_time()
    requests = plan_requests(config)
    planning = time.thread_time() - begun
    writer = RequestWriter(parse_target(url), Models(MODEL), built_in_text(), mark=config.seed)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = Load(parse_target(url), writer)
        result = runner.run(load.run(requests, users=case.users))
    return {**_row(case, result), "planning_us": planning / case.requests * 1e6}


def run_whole(case: Case, url: str) -> tuple[dict[str, float], int]:
    """Load until every answer is good, five times at most; return also how many were not.

    A machine that stands still for a second makes thousands of requests due at once, and nginx
    then closes connections.

    Raises:
        RuntimeError: none of the five was.
    """
    for again in range(4):
        try:
            return run(case, url), again
        except RuntimeError as error:
            print(f"{error}; once more", flush=True)
    return run(case, url), 4


def _row(case: Case, result: LoadResult) -> dict[str, float]:
    failed = [item for item in result.exchanges if item.failure is not None]
    if failed or len(result.exchanges) < case.requests:
        detail = failed[0].detail if failed else "not all left"
        raise RuntimeError(f"{case.name}: {len(failed)} failed: {detail}")
    exchanges = result.exchanges
    span = exchanges[-1].sent - exchanges[0].sent
    late = sorted((item.sent - item.intended) * 1000 for item in exchanges)
    row = {
        "requests_per_s": (len(exchanges) - 1) / span,
        "request_us": result.cpu_s / len(exchanges) * 1e6,
        "cpu_share": result.cpu_s / result.wall_s,
    }
    if case.rate:
        row |= {"delay_p50_ms": percentile(late, 0.5), "delay_p99_ms": percentile(late, 0.99)}
    if case.events:
        events = sum(len(item.token_times) for item in exchanges)
        row |= {"event_us": result.cpu_s / events * 1e6, "events_per_s": events / result.wall_s}
    return row


def wrk(url: str, folder: Path, asked: Asked, connections: int, seconds: int) -> dict[str, float]:
    """Load with wrk from one thread, whose CPU time is its process's."""
    script = folder / "post.lua"
    _wrk.write_script(script, asked.body, asked.headers)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = _wrk.run(f"{url}/v1/chat/completions", script, connections=connections, seconds=seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if load.not_ok or load.broken:
        raise RuntimeError(f"wrk: {load.not_ok} answers not OK, {load.broken} broken")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {
        "requests_per_s": load.requests / load.seconds,
        "request_us": cpu / load.requests * 1e6,
        "cpu_share": cpu / load.seconds,
    }


def median_row(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median, lowest and highest of each figure over the rounds."""
    told = {}
    for name in rows[0]:
        values = sorted(row[name] for row in rows)
        told[name] = {
            "median": percentile(values, 0.5),
            "lowest": values[0],
            "highest": values[-1],
        }
    return told
