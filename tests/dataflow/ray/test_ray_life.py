"""On a cluster: backpressure, draining, cancelling, pausing, and that nothing is left behind."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from ray_jobs import RayPipeline
from ray_parts import Counting, forever, large, slower, slowly, stuck

from sage.dataflow.job import JobHandle
from sage.dataflow.result import JobStatus
from sage.dataflow.runtime.ray import JobCluster


def await_records(job: JobHandle, count: int) -> None:
    while job.metrics[-1].records_out < count:
        assert not job.poll(0.05)


def test_a_slow_operator_holds_the_source_back(ray_cluster: JobCluster) -> None:
    """Records wait in bounded queues; a cancelled job says how many it abandoned."""
    env = RayPipeline(ray_cluster, {"channel_capacity": 100, "batch_size": 50})
    env.from_source(forever, name="numbers").map(slowly, name="slow").sink(print_nothing)
    job = env.start()
    await_records(job, 200)
    metrics = {report.name: report for report in job.metrics}
    ahead = metrics["numbers"].records_out - metrics["slow"].records_in
    result = job.cancel(20)
    assert ahead < 1000
    assert result.status is JobStatus.CANCELLED
    assert result.operator("numbers").blocked > 0
    given, taken = result.operator("numbers").records_out, result.operator("slow").records_in
    assert 0 < result.abandoned < 1000
    assert result.abandoned >= given - taken


def test_bytes_under_way_are_bounded(ray_cluster: JobCluster) -> None:
    """The object store holds no more than bytes_in_flight of a stream that nobody keeps up with."""
    bound = 4_000_000
    with JobCluster(replace(ray_cluster.config, bytes_in_flight=bound)) as cluster:
        env = RayPipeline(cluster, {"channel_capacity": 20, "batch_size": 10})
        env.from_source(large, name="large").map(slower, name="slow").sink(print_nothing)
        job = env.start()
        await_records(job, 10)
        seen = []
        for _ in range(15):
            seen.append(in_object_store())
            assert not job.poll(0.2)
        result = job.cancel(20)
    assert result.operator("large").blocked > 0
    assert 0 < max(seen) <= bound + 100_000


def test_an_operator_that_never_returns_is_left_behind(ray_cluster: JobCluster) -> None:
    """A cancelled job waits for it, and can be given up: its process is killed."""
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(stuck).sink(print_nothing)
    job = env.start()
    while not job.metrics[0].in_flight:
        assert not job.poll(0.05)
    with pytest.raises(TimeoutError):
        job.cancel(0.5)
    (left,) = job._runtime.abandon()
    assert "stuck" in left
    assert job.poll(10)


def living_actors() -> list[str]:
    from ray._private.state import actors

    return [name for name, actor in actors().items() if actor["State"] != "DEAD"]


def in_object_store() -> float:
    import ray

    name = "object_store_memory"
    return float(ray.cluster_resources()[name] - ray.available_resources().get(name, 0.0))


def print_nothing(_: int) -> None:
    """A sink."""


def test_a_stopped_job_drains(ray_cluster: JobCluster) -> None:
    """What the source gave is processed, and its actors are gone."""
    env = RayPipeline(ray_cluster, {"channel_capacity": 200, "batch_size": 100})
    out: list[int] = []
    env.from_source(Counting, 10**9, name="numbers").map(slowly, parallelism=2).sink(out)
    job = env.start()
    await_records(job, 50)
    result = job.stop(timeout=30)
    assert result.status is JobStatus.STOPPED
    assert result.abandoned == 0
    assert sorted(out) == list(range(result.records_in))
    deadline = time.monotonic() + 20
    while living_actors():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_paused_job_holds_still(ray_cluster: JobCluster) -> None:
    """The source waits while it is paused, and goes on."""
    env = RayPipeline(ray_cluster)
    out: list[int] = []
    env.from_source(Counting, 10**9, name="numbers").sink(out)
    job = env.start()
    await_records(job, 100)
    job._runtime.pause(True)
    time.sleep(0.5)
    held = len(out)
    time.sleep(1.0)
    assert len(out) == held
    job._runtime.pause(False)
    while len(out) == held:
        assert not job.poll(0.05)
    job.stop(timeout=20)
