"""Kill -9 of actors and of whole nodes, again and again, while numbered records flow."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ray_jobs import RayPipeline
from ray_parts import Counting, Lines
from tests.ray_nodes import remove_node

from sage.dataflow.job import JobHandle
from sage.dataflow.runtime.ray import JobCluster

RECORDS = 100_000
KEYS = 10
KILLS = int(os.environ.get("SOAK_KILLS", "10"))
INTERVAL = 0.2
# 100 records, a pause of 20 ms: about 4,500 a second, 900 in an interval.
PACE = {"every": 100, "pause": 0.02}
# A barrier takes its time through the actors of a busy machine.
IN_AN_INTERVAL = 4 * 900


def key(number: int) -> int:
    return number % KEYS


def job_of(cluster: JobCluster, folder: Path, cpus: float | None = None) -> JobHandle:
    """Start the job: a source, two replicas by key, and a sink that writes at once.

    Args:
        cluster: where it runs.
        folder: of its checkpoints and of what it writes.
        cpus: of each of the two replicas.
    """
    env = RayPipeline(
        cluster,
        {
            "checkpoint": {"dir": str(folder / "checkpoints"), "interval": INTERVAL},
            "restart": {"strategy": "fixed_delay", "attempts": 2 * KILLS, "delay": 0.1},
        },
    )
    numbers = env.from_source(Counting, RECORDS, **PACE, name="numbers")
    same = numbers.keyby(key).map(int, parallelism=2, cpus=cpus)
    same.sink(Lines, str(folder / "lines"))
    return env.start()


def await_progress(job: JobHandle, folder: Path) -> None:
    """Wait until another checkpoint is written and more records have come out."""
    lines, before = folder / "lines", job._history.checkpoints
    size = lines.stat().st_size if lines.exists() else 0
    while job._history.checkpoints == before or not lines.exists() or lines.stat().st_size == size:
        assert not job.poll(0.02), "the job ended before all kills were done"


def check(lines: Path, restarts: int) -> None:
    """Nothing is lost, few come twice, and each key's records are in order but for restarts."""
    numbers = [int(line) for line in lines.read_text().split()]
    counted = Counter(numbers)
    assert set(counted) == set(range(RECORDS))
    assert len(numbers) - RECORDS <= restarts * IN_AN_INTERVAL
    by_key: dict[int, list[int]] = defaultdict(list)
    for number in numbers:
        by_key[key(number)].append(number)
    for sequence in by_key.values():
        backwards = sum(later < earlier for earlier, later in pairwise(sequence))
        assert backwards <= restarts


def run_with_kills(job: JobHandle, folder: Path, kill: Callable[[random.Random], None]) -> None:
    """Kill at random moments, each of which brings a restart; then let the job end."""
    dice = random.Random(4)
    try:
        for number in range(KILLS):
            await_progress(job, folder)
            job.poll(dice.uniform(0, 2 * INTERVAL))
            kill(dice)
            while job._history.restarts <= number:
                assert not job.poll(0.02), "a kill was not noticed"
        result = job.wait(200)
    finally:
        job.cancel(20)
    assert result.restarts == KILLS
    check(folder / "lines", result.restarts)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_killed_actors(ray_cluster: JobCluster, tmp_path: Path) -> None:
    """Ten times, or SOAK_KILLS, one of the job's processes at random."""
    job = job_of(ray_cluster, tmp_path)

    def kill(dice: random.Random) -> None:
        replicas = job._runtime._attempt._crew.running
        os.kill(dice.choice(replicas)._hello.pid, signal.SIGKILL)

    run_with_kills(job, tmp_path, kill)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_killed_raylets(raylets: Any, ray_cluster: JobCluster, tmp_path: Path) -> None:
    """As often, a node that runs part of the job; another one comes in its place."""
    large = {"num_cpus": 8, "object_store_memory": 80_000_000}
    # One to spare: the job goes on at once, and has records left when the next one has come.
    added = [raylets.add_node(**large) for _ in range(3)]
    nodes = {node.node_id: node for node in added}
    # No other node has so many.
    job = job_of(ray_cluster, tmp_path, cpus=6)

    def kill(dice: random.Random) -> None:
        running = job._runtime._attempt._crew.running
        used = sorted({replica._hello.node for replica in running} & set(nodes))
        raylets.remove_node(nodes.pop(dice.choice(used)), allow_graceful=False)
        another = raylets.add_node(**large)
        nodes[another.node_id] = another

    try:
        run_with_kills(job, tmp_path, kill)
    finally:
        for node in nodes.values():
            remove_node(raylets, node)
