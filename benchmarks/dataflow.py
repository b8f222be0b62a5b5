"""The dataflow kernel against a plain Python loop, and its channels by themselves.

    python benchmarks/dataflow.py

Every figure is the best of several rounds, and rounds of all contestants alternate, so that a slow
moment of the machine meets all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from _report import Report

from sage.dataflow import LocalEnvironment, SourceFunction

RECORDS = 1_000_000
ROUNDS = 7


def add_one(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return x * 2


def not_by_three(x: int) -> bool:
    return x % 3 != 0


def plain_loop() -> float:
    """The loop a user would write: the same four calls a record."""
    out: list[int] = []
    sink = out.append
    start = time.perf_counter()
    for x in range(RECORDS):
        y = add_one(x)
        z = double(y)
        if not_by_three(z):
            sink(z)
    return time.perf_counter() - start


def pipeline(
    *, workers: str = "thread", parallelism: tuple[int, ...] = (1, 1, 1), profile: bool = False
) -> float:
    """The same as a pipeline; parallelism that changes puts a channel between two operators."""
    out: list[int] = []
    env = LocalEnvironment("benchmark", config={"workers": workers})
    first, second, third = parallelism
    (
        env.from_collection(range(RECORDS))
        .map(add_one, parallelism=first)
        .map(double, parallelism=second)
        .filter(not_by_three, parallelism=third)
        .sink(out.append)
    )
    start = time.perf_counter()
    env.submit(autostop=True, profile=profile)
    elapsed = time.perf_counter() - start
    assert len(out) == RECORDS - RECORDS // 3
    return elapsed


def generator_pipeline() -> float:
    """A lazy source: a thread of its own, its records through an open batch."""

    def numbers() -> Iterator[int]:
        yield from range(RECORDS)

    env = LocalEnvironment("benchmark")
    env.from_source(numbers).map(add_one).map(double).filter(not_by_three).sink(lambda _: None)
    return env.submit(autostop=True).duration


def best(contestants: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return each contestant's records/s in its best round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            seconds[name].append(run())
    return {name: RECORDS / min(rounds) for name, rounds in seconds.items()}


class Ticks(SourceFunction):
    """Gives the time of its making, 100 times a second, and says "nothing now" in between."""

    def __init__(self, count: int = 300) -> None:
        self.left = count
        self.due = 0.0

    def execute(self) -> float | None:
        now = time.perf_counter()
        if now < self.due:
            return None
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        self.due = now + 0.01
        return time.perf_counter()


def latency() -> dict[str, float]:
    """Milliseconds of one record through five stages at 100 records/s."""
    env = LocalEnvironment("latency")
    stream = env.from_source(Ticks)
    for parallelism in (2, 1, 2, 1):
        stream = stream.map(lambda record: record, parallelism=parallelism)
    seconds: list[float] = []
    stream.sink(lambda made: seconds.append(time.perf_counter() - made), parallelism=2)
    env.submit(autostop=True)
    ordered = sorted(seconds)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


def keep(record: bytes) -> bytes:
    return record


def compute(record: int) -> int:
    return sum(range(record))


async def call(record: int) -> int:
    await asyncio.sleep(0.05)
    return record


def process_hop() -> float:
    """Records/s of 1 KB there and back, the start of the process left out."""
    return steady_rate(lambda env, records: env.from_collection(records).map(keep), 400_000)


def steady_rate(build: Callable[[LocalEnvironment, Any], Any], count: int) -> float:
    """Records/s at the sink from its first record to its last."""
    arrivals: list[float] = []
    env = LocalEnvironment("benchmark", config={"workers": "process"})
    clock = time.perf_counter
    # Copies of one object would be pickled once a batch.
    records = [index.to_bytes(4, "big") * 256 for index in range(count)]
    build(env, records).sink(lambda _: arrivals.append(clock()))
    env.submit(autostop=True)
    return (count - 1) / (arrivals[-1] - arrivals[0])


def cpu_bound(parallelism: int) -> float:
    """Seconds from the first result to the last of an operator that computes."""
    arrivals: list[float] = []
    env = LocalEnvironment("benchmark", config={"workers": "process"})
    stream = env.from_collection([20_000] * 10_000).map(compute, parallelism=parallelism)
    stream.sink(lambda _: arrivals.append(time.perf_counter()))
    env.submit(autostop=True)
    return arrivals[-1] - arrivals[0]


def in_flight() -> float:
    """Records/s of an async operator with 1,000 in flight over a 50 ms call."""
    env = LocalEnvironment("benchmark")
    env.from_collection(range(100_000)).map(call, concurrency=1000, ordered=False).sink(
        lambda _: None
    )
    return env.submit(autostop=True).records_per_second


def raw_in_flight(count: int = 100_000) -> float:
    """The same by 1,000 coroutines of bare asyncio."""
    records = iter(range(count))

    async def worker() -> None:
        for record in records:
            await call(record)

    async def run() -> float:
        start = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(1000)])
        return time.perf_counter() - start

    return count / asyncio.run(run())


def main() -> None:
    report = Report("dataflow", [])
    rates = best(
        {
            "plain loop": plain_loop,
            "fused, threads": pipeline,
            "fused, inline": lambda: pipeline(workers="inline"),
            "fused, profile=True": lambda: pipeline(profile=True),
            "generator source": generator_pipeline,
            "channel between each operator": lambda: pipeline(parallelism=(2, 1, 2)),
        }
    )
    plain = rates["plain loop"]
    for name, rate in rates.items():
        value: dict[str, Any] = {"records_per_second": rate, "of_plain_loop": rate / plain}
        report.add(name, value, f"{name:<32} {rate / 1e6:6.2f} M records/s  {rate / plain:5.2f} ×")
    times = latency()
    report.add(
        "latency",
        times,
        f"{'5 stages at 100 records/s':<32} p50 {times['p50_ms']:.2f} ms, "
        f"p99 {times['p99_ms']:.2f} ms",
    )
    rate, raw = in_flight(), raw_in_flight()
    report.add(
        "async",
        {"records_per_second": rate, "bare_asyncio": raw},
        f"{'async, 1,000 in flight, 50 ms':<32} {rate:,.0f} records/s, bare asyncio {raw:,.0f}",
    )
    hop = process_hop()
    report.add("process hop", hop, f"{'process hop, 1 KB records':<32} {hop / 1e3:.0f} k records/s")
    alone, together = min(cpu_bound(1) for _ in range(2)), min(cpu_bound(2) for _ in range(2))
    report.add(
        "cpu bound",
        {"one_process_s": alone, "two_processes_s": together, "speed_up": alone / together},
        f"{'CPU-bound, two processes':<32} {alone / together:.2f} × of one",
    )
    report.write()


if __name__ == "__main__":
    main()
