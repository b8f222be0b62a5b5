"""Work on two cores, and the way to another process, against bare processes and pipes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from _dataflow_rounds import Figures, serve

from sage.dataflow import LocalEnvironment

COMPUTED = 30_000
SUM_OF = 20_000
HOPS = 400_000
# What the channels hold at most, too.
PIPE_BATCH = 2048


def keep(record: bytes) -> bytes:
    return record


def compute(record: int) -> int:
    return sum(range(record))


def steady_rate(build: Callable[[LocalEnvironment, Any], Any], records: list[Any]) -> Figures:
    """Return records/s at the sink, from the 10th percent of the records to the 95th.

    Before, not every process has started; after, not every one has something left to do.
    """
    arrivals: list[float] = []
    env = LocalEnvironment("benchmark", config={"workers": "process"})
    clock = time.perf_counter
    build(env, records).sink(lambda _: arrivals.append(clock()))
    env.submit(autostop=True)
    if len(arrivals) != len(records):
        raise SystemExit(f"{len(arrivals)} records arrived, not {len(records)}")
    begin, end = len(records) // 10, len(records) * 95 // 100
    return {"records_per_s": (end - begin) / (arrivals[end] - arrivals[begin])}


def computing(parallelism: int) -> Figures:
    """An operator that computes, in so many processes."""
    records = [SUM_OF] * (COMPUTED // 2 * parallelism)
    return steady_rate(
        lambda env, given: env.from_collection(given).map(compute, parallelism=parallelism), records
    )


_BARE = f"""
import sys, time
sys.stdin.read(1)
start = time.perf_counter()
for _ in range({COMPUTED // 2}):
    sum(range({SUM_OF}))
print(time.perf_counter() - start)
"""


def bare_processes(count: int) -> Figures:
    """So many bare Python processes that compute the same at once: what the machine has to give."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    seconds = [float(process.communicate()[0]) for process in running]
    return {"records_per_s": count * (COMPUTED // 2) / max(seconds)}


def records_of_1_kb() -> list[bytes]:
    """Return records that are all different: copies of one object would be pickled once."""
    return [index.to_bytes(4, "big") * 256 for index in range(HOPS)]


def hop() -> Figures:
    """To a process and back."""
    return steady_rate(lambda env, given: env.from_collection(given).map(keep), records_of_1_kb())


def bare_pipe(size: int) -> Figures:
    """A multiprocessing.Pipe to a process that sends everything back, by lists of ``size``."""
    records = records_of_1_kb()[: HOPS if size > 1 else HOPS // 10]
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_echo, args=(its,))
    process.start()
    mine.send(None)
    mine.recv()  # it has started
    start = time.perf_counter()
    for begin in range(0, len(records), size):
        mine.send(records[begin : begin + size])
        mine.recv()
    elapsed = time.perf_counter() - start
    mine.send("end")
    process.join()
    return {"records_per_s": len(records) / elapsed}


def bare_queue() -> Figures:
    """A multiprocessing.Queue there and one back, record by record."""
    records = records_of_1_kb()[: HOPS // 10]
    context = multiprocessing.get_context("spawn")
    there, back = context.Queue(1024), context.Queue()
    process = context.Process(target=_relay, args=(there, back))
    process.start()
    there.put(b"")
    back.get()
    start = time.perf_counter()
    for record in records:
        there.put(record)
    for _ in records:
        back.get()
    elapsed = time.perf_counter() - start
    there.put(None)
    process.join()
    return {"records_per_s": len(records) / elapsed}


def _echo(connection: Connection) -> None:
    while (given := connection.recv()) != "end":
        connection.send(given)


def _relay(there: Any, back: Any) -> None:
    while (given := there.get()) is not None:
        back.put(given)


if __name__ == "__main__":
    serve(
        {
            "one": lambda: computing(1),
            "two": lambda: computing(2),
            "bare one": lambda: bare_processes(1),
            "bare two": lambda: bare_processes(2),
            "hop": hop,
            "pipe by 2048": lambda: bare_pipe(PIPE_BATCH),
            "pipe by 1": lambda: bare_pipe(1),
            "queue by 1": bare_queue,
        }
    )
