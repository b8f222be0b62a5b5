"""The kernel, the plain loop it is held against, and bare queues between bare threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from _dataflow_rounds import Figures, serve
from _dataflow_work import RECORDS, TURNS, add_one, double, not_by_three, rate

from sage.dataflow import LocalEnvironment

END = object()


def plain_loop() -> Figures:
    """The loop a user would write: the same four calls a record."""

    def run() -> int:
        out: list[int] = []
        sink = out.append
        for x in range(RECORDS):
            y = add_one(x)
            z = double(y)
            if not_by_three(z):
                sink(z)
        return len(out)

    return rate(run, turns=TURNS)


def pipeline(
    *, workers: str = "thread", parallelism: tuple[int, ...] = (1, 1, 1), profile: bool = False
) -> Figures:
    """The same as a pipeline; parallelism that changes puts a channel between two operators."""

    def run() -> int:
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
        env.submit(autostop=True, profile=profile)
        return len(out)

    return rate(run, turns=TURNS)


def generator_source() -> Figures:
    """A lazy source: a thread of its own, its records through an open batch."""

    def numbers() -> Iterator[int]:
        yield from range(RECORDS)

    def run() -> int:
        out: list[int] = []
        env = LocalEnvironment("benchmark")
        env.from_source(numbers).map(add_one).map(double).filter(not_by_three).sink(out.append)
        env.submit(autostop=True)
        return len(out)

    return rate(run, turns=TURNS)


def queues(size: int, records: int) -> Figures:
    """Five threads with a bare queue.Queue between each two, by lists of ``size`` records."""
    steps: list[Callable[[list[int]], list[int]]] = [
        lambda given: [add_one(x) for x in given],
        lambda given: [double(x) for x in given],
        lambda given: [x for x in given if not_by_three(x)],
    ]

    def run() -> int:
        out: list[int] = []
        hops: list[queue.Queue[Any]] = [queue.Queue(8192 // size) for _ in range(4)]

        def source() -> None:
            for begin in range(0, records, size):
                hops[0].put(list(range(begin, min(begin + size, records))))
            hops[0].put(END)

        def step(number: int) -> None:
            while (given := hops[number].get()) is not END:
                hops[number + 1].put(steps[number](given))
            hops[number + 1].put(END)

        def sink() -> None:
            while (given := hops[3].get()) is not END:
                out.extend(given)

        threads = [threading.Thread(target=source), threading.Thread(target=sink)]
        threads += [threading.Thread(target=step, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(out)

    return rate(run, records)


if __name__ == "__main__":
    serve(
        {
            "plain": plain_loop,
            "fused": pipeline,
            "inline": lambda: pipeline(workers="inline"),
            "profile": lambda: pipeline(profile=True),
            "generator": generator_source,
            "channels": lambda: pipeline(parallelism=(2, 1, 2)),
            "queues by 1": lambda: queues(1, 100_000),
            "queues by 16": lambda: queues(16, RECORDS),
        }
    )
