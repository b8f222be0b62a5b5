"""On a cluster: errors, lost processes, lost nodes, and checkpoints that bring a job back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_jobs import RayPipeline
from ray_parts import Counting, DiesOnce, SaysWhere, lock_of, no_sevens
from tests.ray_nodes import remove_node

from sage.dataflow import LocalEnvironment
from sage.dataflow.result import JobStatus
from sage.dataflow.runtime.ray import JobCluster
from sage.errors import GraphError, OperatorError

RESTART = {"strategy": "fixed_delay", "attempts": 3, "delay": 0.1}


def kept(folder: Path, interval: float = 0.2) -> dict[str, Any]:
    return {"checkpoint": {"dir": str(folder), "interval": interval}, "restart": RESTART}


def test_an_operators_error_is_the_same(ray_cluster: JobCluster) -> None:
    """The job fails with the operator, the record and the cause, and has its counts."""
    failures = []
    for env in (LocalEnvironment("local"), RayPipeline(ray_cluster)):
        env.from_collection(range(20)).map(no_sevens, name="picky").sink([])
        run: Callable[[], Any] = (
            env.run if isinstance(env, RayPipeline) else lambda env=env: env.submit(autostop=True)
        )
        with pytest.raises(OperatorError) as caught:
            run()
        failures.append(caught.value)
    here, there = failures
    assert (there.operator, there.record) == (here.operator, here.record) == ("picky", 7)
    assert str(there) == str(here)
    assert isinstance(there.__cause__, ValueError)
    assert there.result.operator("picky").failed == 1
    assert there.result.status is JobStatus.FAILED


def test_what_cannot_be_sent_is_named(ray_cluster: JobCluster) -> None:
    """A lock in an operator, and an iterator as a source, are errors before anything runs."""
    lock = threading.Lock()
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(lambda number: (lock, number), name="locked").sink([])
    with pytest.raises(GraphError, match="operator 'locked' cannot be sent"):
        env.run()
    env = RayPipeline(ray_cluster)
    env.from_source((number for number in [1]), name="once").sink([])
    with pytest.raises(GraphError, match="source 'once' cannot be sent"):
        env.run()


def test_records_that_cannot_be_sent_name_who_emitted_them(ray_cluster: JobCluster) -> None:
    """A record that leaves its actor must be picklable."""
    env = RayPipeline(ray_cluster)
    env.from_collection(range(9)).map(lock_of, name="locks").map(str, parallelism=2).sink([])
    with pytest.raises(OperatorError, match="operator 'locks' failed on record '<emitted records>"):
        env.run()


def test_a_killed_process_loses_nothing(ray_cluster: JobCluster, tmp_path: Path) -> None:
    """Every stage begins again from the last checkpoint; each record arrives once, in order."""
    marker = tmp_path / "killed"
    out: list[int] = []
    env = RayPipeline(ray_cluster, kept(tmp_path / "checkpoints"))
    numbers = env.from_source(Counting, 40_000, name="numbers")
    numbers.map(DiesOnce, 20_000, str(marker)).sink(out)
    result = env.run()
    assert marker.exists()
    assert result.restarts == 1
    assert result.checkpoints > 1
    assert out == list(range(40_000))
    assert result.records_in == result.records_out == 40_000


def test_a_stopped_job_resumes_with_other_replicas(ray_cluster: JobCluster, tmp_path: Path) -> None:
    """A drained job's last checkpoint has all: the next goes on, keys going to more replicas."""
    out: list[int] = []

    def job(parallelism: int) -> RayPipeline:
        env = RayPipeline(ray_cluster, {"checkpoint": {"dir": str(tmp_path / "c"), "interval": 60}})
        numbers = env.from_source(Counting, 30_000, pause=0.01, name="numbers")
        keyed = numbers.keyby(lambda number: number % 10)
        totals = keyed.reduce(
            lambda total, number: total + number, parallelism=parallelism, emit="end"
        )
        totals.sink(out)
        return env

    running = job(1).start()
    while not running.metrics or running.metrics[0].records_out == 0:
        assert not running.poll(0.05)
    stopped = running.stop(timeout=20)
    assert stopped.status is JobStatus.STOPPED
    assert out == []
    result = job(2).run(resume="latest")
    assert result.resumed_from == 1
    assert sorted(out) == [sum(range(key, 30_000, 10)) for key in range(10)]


def test_a_lost_node_moves_its_stages(
    raylets: Any, ray_cluster: JobCluster, tmp_path: Path
) -> None:
    """The stages of a node that is gone begin again elsewhere, and nothing is lost."""
    where = tmp_path / "where"
    out: list[int] = []
    large = {"num_cpus": 8, "object_store_memory": 80_000_000}
    spare = {node.node_id: node for node in (raylets.add_node(**large), raylets.add_node(**large))}
    try:
        env = RayPipeline(ray_cluster, kept(tmp_path / "checkpoints"))
        numbers = env.from_source(Counting, 60_000, pause=0.01, name="numbers")
        numbers.map(SaysWhere, str(where), cpus=6).sink(out)
        job = env.start()
        while job.metrics[-1].records_out < 5_000:
            assert not job.poll(0.05)
        first = where.read_text().split()[0]
        raylets.remove_node(spare.pop(first), allow_graceful=False)
        result = job.wait(50)
    finally:
        for node in spare.values():
            remove_node(raylets, node)
    assert result.restarts == 1
    assert where.read_text().split() == [first, *spare]
    assert out == list(range(60_000))
