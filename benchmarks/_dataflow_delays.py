"""How long one record takes through five stages at 100 a second, and through bare queues."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from _dataflow_rounds import Figures, serve

from sage.dataflow import LocalEnvironment, SourceFunction

COUNT = 500
EVERY_S = 0.01


class Ticks(SourceFunction):
    """Gives the time of its making, 100 times a second, and says "nothing now" in between."""

    def __init__(self, count: int = COUNT) -> None:
        self.left = count
        self.due = 0.0

    def execute(self) -> float | None:
        now = time.perf_counter()
        if now < self.due:
            return None
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        self.due = now + EVERY_S
        return time.perf_counter()


def five_stages() -> Figures:
    """Parallelism that changes puts a channel between each two operators."""
    env = LocalEnvironment("latency")
    stream = env.from_source(Ticks)
    for parallelism in (2, 1, 2, 1):
        stream = stream.map(lambda record: record, parallelism=parallelism)
    seconds: list[float] = []
    stream.sink(lambda made: seconds.append(time.perf_counter() - made), parallelism=2)
    env.submit(autostop=True)
    return quantiles(seconds)


def five_queues() -> Figures:
    """Six threads with a queue.Queue between each two, which is the least that threads can do."""
    hops: list[queue.Queue[Any]] = [queue.Queue() for _ in range(5)]
    seconds: list[float] = []

    def step(number: int) -> None:
        while (made := hops[number].get()) is not None:
            if number + 1 < len(hops):
                hops[number + 1].put(made)
            else:
                seconds.append(time.perf_counter() - made)
        if number + 1 < len(hops):
            hops[number + 1].put(None)

    threads = [threading.Thread(target=step, args=(number,)) for number in range(len(hops))]
    for thread in threads:
        thread.start()
    for _ in range(COUNT):
        hops[0].put(time.perf_counter())
        time.sleep(EVERY_S)
    hops[0].put(None)
    for thread in threads:
        thread.join()
    return quantiles(seconds)


def quantiles(seconds: list[float]) -> Figures:
    """Return the median and the 99th percentile in milliseconds.

    Raises:
        SystemExit: records were lost.
    """
    if len(seconds) != COUNT:
        raise SystemExit(f"{len(seconds)} records arrived, not {COUNT}")
    ordered = sorted(seconds)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


if __name__ == "__main__":
    serve({"stages": five_stages, "queues": five_queues})
