"""On a cluster: operators in a worker process of their actor, whose calls can be ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from ray_jobs import RayPipeline
from ray_parts import Counting
from tests.slow_calls import add_slow_calls

from sage.dataflow.runtime.ray import JobCluster
from sage.errors import OperatorError, OperatorTimeoutError

RESTART = {"strategy": "fixed_delay", "attempts": 3, "delay": 0.1}


def test_a_plain_call_that_takes_too_long_is_ended(ray_cluster: JobCluster) -> None:
    """Also of a function that no module there has, on records of a class that none has."""
    env = RayPipeline(ray_cluster)
    out = add_slow_calls(env)
    result = env.run()
    assert [wait.seconds for wait in out] == [0, 0]
    (letter,) = result.dead_letters
    assert isinstance(letter.error, OperatorTimeoutError)
    assert str(letter.error) == "operator 'sleep' took longer than its timeout of 0.5 s"
    assert letter.record.seconds == 300
    assert result.operator("sleep").failed == 1


def test_replicas_by_key_have_a_process_each(ray_cluster: JobCluster) -> None:
    """Neither of which is the actor's."""

    def where(number: int) -> tuple[int, int, int]:
        return number, os.getppid(), os.getpid()

    out: list[tuple[int, int, int]] = []
    env = RayPipeline(ray_cluster, {"parallelism": 2})
    env.from_collection(range(20)).keyby(lambda number: number).map(where, workers="process").sink(
        out
    )
    env.run()
    assert sorted(number for number, _, _ in out) == list(range(20))
    assert len({(actor, worker) for _, actor, worker in out}) == 2
    assert not {actor for _, actor, _ in out} & {worker for _, _, worker in out}


def test_a_killed_worker_loses_nothing(ray_cluster: JobCluster, tmp_path: Path) -> None:
    """Its stage goes on from the last checkpoint, where its state is."""

    marker = tmp_path / "marker"

    def once(number: int) -> int:
        if number == 3000 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    checkpoint = {"dir": str(tmp_path / "checkpoints"), "interval": 0.1}
    out: list[int] = []
    env = RayPipeline(ray_cluster, {"checkpoint": checkpoint, "restart": RESTART})
    numbers = env.from_source(Counting, 5000).map(once, workers="process")
    numbers.keyby(lambda number: number % 2).reduce(max, workers="process").sink(out)
    result = env.run()
    assert marker.exists()
    assert result.restarts == 1
    assert result.operator("once").records_in == 5000
    assert max(out) == 4999


def test_a_worker_that_dies_ends_a_job_without_restarts(ray_cluster: JobCluster) -> None:
    """And the error says with what."""
    env = RayPipeline(ray_cluster)
    env.from_collection([1]).map(lambda _: os._exit(3), workers="process", name="exits").sink(print)
    with pytest.raises(OperatorError, match="its worker process ended with code 3"):
        env.run()
