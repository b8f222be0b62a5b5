"""1,000 calls of 50 ms in flight: an async operator, and bare asyncio."""

from __future__ import annotations

import asyncio
import time

from _dataflow_rounds import Figures, serve

from sage.dataflow import LocalEnvironment

RECORDS = 100_000
IN_FLIGHT = 1000


async def call(record: int) -> int:
    await asyncio.sleep(0.05)
    return record


def operator() -> Figures:
    """As the README shows it, unordered."""
    env = LocalEnvironment("benchmark")
    stream = env.from_collection(range(RECORDS)).map(call, concurrency=IN_FLIGHT, ordered=False)
    arrived: list[int] = []
    stream.sink(arrived.append)
    start = time.perf_counter()
    env.submit(autostop=True)
    elapsed = time.perf_counter() - start
    if len(arrived) != RECORDS:
        raise SystemExit(f"{len(arrived)} records arrived, not {RECORDS}")
    return {"records_per_s": RECORDS / elapsed}


def bare() -> Figures:
    """1,000 coroutines that take the next record when they are done."""
    records = iter(range(RECORDS))

    async def worker() -> None:
        for record in records:
            await call(record)

    async def run() -> float:
        start = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(IN_FLIGHT)])
        return time.perf_counter() - start

    return {"records_per_s": RECORDS / asyncio.run(run())}


if __name__ == "__main__":
    serve({"operator": operator, "bare": bare})
