"""Pipelines on a Ray cluster of this machine, against their bars and Ray Data's map_batches.

- ``records``: 1 KB records through three stages, each an actor (bar: 150,000/s on 2 cores).
- ``start``: from the start of a job to its first record in the sink, on a warm cluster (2 s).
- ``async``: an operator that takes 50 ms a call, 500 calls in flight over two actors (9,000/s).
- ``embedding``: texts through two actors with the packaged embedding model, and the same in
  Ray Data, which take turns (1.0 times its texts/s). Needs pandas and pyarrow.

    python benchmarks/remote.py [--only records] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _remote_parts import Embed, EmbedRows, Records, Times, call, same
from _report import Report
from embedding_gateway import texts

from sage.dataflow.guard import JobServices
from sage.dataflow.pipeline import Pipeline
from sage.dataflow.runtime.ray import JobCluster, RayBackend, RayJobConfig
from sage.dataflow.submission import make_job

CPUS = 8


class Remote(Pipeline):
    """A pipeline whose job this process drives, without a job manager between."""

    def __init__(self, cluster: JobCluster) -> None:
        super().__init__("remote", None)
        self._cluster = cluster

    def run(self) -> None:
        """Run to the end."""
        backend = RayBackend(self._cluster)
        job = make_job(self.name, self._graph, self.config, JobServices(), backend=backend)
        job.start()
        job.wait()


class Timed:
    """Runs a pipeline that ends in `Times`.

    Attributes:
        start: seconds from the start of the job to the first record in the sink.
        rate: records a second from then on.
    """

    def __init__(
        self, cluster: JobCluster, build: Callable[[Pipeline], object], count: int
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "times"
            env = Remote(cluster)
            stream = build(env)
            stream.sink(Times, str(path))
            began = time.time()
            env.run()
            first, last = map(float, path.read_text().split())
        self.start = first - began
        self.rate = count / (last - first)


def records(report: Report, cluster: JobCluster, rounds: int) -> None:
    """Measure throughput: a source, two replicas of a map, and a sink."""
    count = 3_000_000
    rates = [
        Timed(
            cluster,
            lambda env: env.from_source(Records, count, 1024).map(same, parallelism=2),
            count,
        ).rate
        for _ in range(rounds)
    ]
    report.add(
        "records",
        rates,
        f"records of 1 KB through 3 stages: {statistics.median(rates):,.0f}/s "
        f"({min(rates):,.0f} to {max(rates):,.0f}); bar 150,000",
    )


def start(report: Report, cluster: JobCluster, rounds: int) -> None:
    """Measure the time to the first record of a job of three actors."""
    seconds = [
        Timed(
            cluster,
            lambda env: env.from_source(Records, 1000, 1024).map(same, parallelism=2),
            1000,
        ).start
        for _ in range(rounds)
    ]
    report.add(
        "start",
        seconds,
        f"start to first record, 4 actors: {statistics.median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}); bar 2",
    )


def calls(report: Report, cluster: JobCluster, rounds: int) -> None:
    """Measure an async operator."""
    count = 100_000
    rates = [
        Timed(
            cluster,
            lambda env: env.from_source(Records, count, 100).map(
                call, parallelism=2, concurrency=250
            ),
            count,
        ).rate
        for _ in range(rounds)
    ]
    report.add(
        "async",
        rates,
        f"calls of 50 ms, 500 in flight over 2 actors: {statistics.median(rates):,.0f}/s "
        f"({min(rates):,.0f} to {max(rates):,.0f}); bar 9,000",
    )


def embedding(report: Report, cluster: JobCluster, rounds: int) -> None:
    """Let a pipeline and Ray Data embed the same texts in turns, each from nothing to the end."""
    given = texts(4000)
    sides = {"ours": partial(_embed_here, cluster), "ray_data": _embed_in_ray_data}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        # Who goes first finds the machine otherwise than who goes second.
        for name in sorted(sides, reverse=turn % 2 == 1):
            began = time.perf_counter()
            vectors = sides[name](given)
            rates[name].append(len(given) / (time.perf_counter() - began))
            if vectors != len(given):
                raise RuntimeError(f"{name}: {vectors} vectors of {len(given)} texts")
        print(f"  {rates['ours'][-1]:.0f} / {rates['ray_data'][-1]:.0f} texts/s", flush=True)
    ratios = [mine / its for mine, its in zip(rates["ours"], rates["ray_data"], strict=True)]
    middle = {name: statistics.median(its) for name, its in rates.items()}
    report.add(
        "embedding",
        {**rates, "ratios": ratios},
        f"texts embedded by 2 actors: {middle['ours']:,.0f}/s, Ray Data "
        f"{middle['ray_data']:,.0f}/s, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}); bar 1.0",
    )


def _embed_here(cluster: JobCluster, given: list[str]) -> int:
    found: list[list[object]] = []
    env = Remote(cluster)
    env.from_collection(given).batch(64).map(Embed, parallelism=2).sink(found)
    env.run()
    return sum(map(len, found))


def _embed_in_ray_data(given: list[str]) -> int:
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"text": text} for text in given]).map_batches(
        EmbedRows, batch_size=64, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=1
    )
    return len(rows.take_all())


ROWS = {"records": records, "start": start, "async": calls, "embedding": embedding}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=ROWS, help="measure this row alone")
    parser.add_argument("--rounds", type=int, default=3, help="of each row (default 3)")
    arguments = parser.parse_args()
    report = Report("remote", ["ray"])
    with JobCluster(RayJobConfig(address="local", num_cpus=CPUS)) as cluster:
        for name in arguments.only or ROWS:
            ROWS[name](report, cluster, arguments.rounds)
    if not arguments.only:
        report.write()


if __name__ == "__main__":
    main()
