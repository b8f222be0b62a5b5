"""On a cluster, a pipeline gives the same records and the same counts as on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from graph_steps import STEPS, Pair, Records, check_counts
from ray_jobs import RayPipeline

from sage.dataflow import LocalEnvironment
from sage.dataflow.result import JobResult
from sage.dataflow.runtime.ray import JobCluster

FIRST = [*range(0, 40, 2), 7, 7, 9]
BY_NAME = {step.name: step for step in STEPS}
TWO = "two streams"
# Operators one behind the other, with their parallelism: every kind is in one of these.
CHAINS = {
    "records": [
        ("map", 1),
        ("filter", 1),
        ("flatmap", 1),
        ("skip", 2),
        ("dead letters", 2),
        ("event time", 2),
        ("batch", 1),
        ("async, ordered", 1),
        ("async, as they come", 2),
    ],
    "keys and windows": [
        ("tumbling", 1),
        ("sliding", 1),
        ("session", 1),
        ("process", 1),
        ("reduce", 2),
    ],
    TWO: [("union", 1), ("comap", 1), ("join", 2), ("windowed join", 1)],
    "loop": [("feedback", 2), ("split", 1)],
}


def numbers() -> Records:
    return [*range(30, 40), 5]


def build(env: RayPipeline | LocalEnvironment, chain: str) -> list[Records]:
    """Build the chain; return the lists of its records and of those of a second source."""
    stream = env.from_collection(FIRST)
    outputs: list[Records] = []
    if chain == TWO:
        outputs.append([])
        second = env.from_source(numbers)
        second.sink(outputs[0].append)
    for name, parallelism in CHAINS[chain]:
        step = BY_NAME[name]
        if isinstance(step, Pair):
            stream = step.build(stream, second, parallelism)
        else:
            stream = step.build(stream, parallelism)
    outputs.append([])
    stream.sink(outputs[-1])
    return outputs


def counts(result: JobResult) -> dict[str, tuple[int, ...]]:
    return {
        each.name: (each.records_in, each.records_out, each.dropped, each.failed)
        for each in result.operators
    }


def test_every_kind_of_operator_is_compared() -> None:
    """No kind of operator is left out of the chains."""
    assert {name for chain in CHAINS.values() for name, _ in chain} == set(BY_NAME)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_same_records_and_counts(ray_cluster: JobCluster, chain: str, tmp_path: Path) -> None:
    """Records, dead letters and the counts of every operator, while checkpoints are taken."""
    checkpoints = {"checkpoint": {"dir": str(tmp_path / "checkpoints"), "interval": 0.02}}
    local, remote = LocalEnvironment("local"), RayPipeline(ray_cluster, checkpoints)
    expected, found = build(local, chain), build(remote, chain)
    at_home, away = local.submit(autostop=True), remote.run()
    assert [Counter(records) for records in found] == [Counter(records) for records in expected]
    assert counts(away) == counts(at_home)
    assert Counter(letter.record for letter in away.dead_letters) == Counter(
        letter.record for letter in at_home.dead_letters
    )
    check_counts(remote._graph.nodes, away)
    assert away.checkpoints > 1
