"""cpus and gpus: what is asked, what there is, and who gets which."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow import LocalEnvironment, MapFunction, Resources, RuntimeContext
from sage.dataflow.plan import Plan, make_plan
from sage.dataflow.resources import Allocation, Machine, this_machine
from sage.errors import ConfigError, GraphError


class Where(MapFunction):
    """Emits what it has, and what its process may see."""

    def open(self, context: RuntimeContext) -> None:
        self.resources = context.resources

    def execute(self, data: int) -> tuple[Resources, str | None]:
        import os

        return self.resources, os.environ.get("CUDA_VISIBLE_DEVICES")


def seen(env: LocalEnvironment, **options: Any) -> set[Any]:
    out: list[Any] = []
    # By key, so that every replica gets some of the records.
    env.from_collection(range(100)).keyby(str).map(Where, **options).sink(out.append)
    env.submit(autostop=True)
    return set(out)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")


@pytest.mark.usefixtures("two_gpus")
def test_threads() -> None:
    """Each replica is told which GPUs are its own, by their names in this process."""
    env = LocalEnvironment()
    found = seen(env, cpus=0.5, gpus=1, parallelism=2)
    assert found == {
        (Resources(0.5, 1.0, ("cuda:0",)), "4,7"),
        (Resources(0.5, 1.0, ("cuda:1",)), "4,7"),
    }
    assert "  │ Where  map, keyed (cpus 0.5, gpus 1)" in env.explain().splitlines()


@pytest.mark.usefixtures("two_gpus")
def test_processes() -> None:
    """A process sees its own GPUs alone, which are its first ones."""
    env = LocalEnvironment(config={"workers": "process"})
    found = seen(env, gpus=1, parallelism=2)
    mine = Resources(None, 1.0, ("cuda:0",))
    assert found == {(mine, "4"), (mine, "7")}


@pytest.mark.usefixtures("two_gpus")
def test_too_many_gpus() -> None:
    """The error has both numbers, and who asks."""
    env = LocalEnvironment()
    with pytest.raises(
        GraphError, match=r"ask for 3 GPUs in all \('Where' 3 × 1\), and there are 2"
    ):
        seen(env, gpus=1, parallelism=3)


def test_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any, or one that hides them, has none to give."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert this_machine().devices == ()
    with pytest.raises(GraphError, match="there are 0"):
        seen(LocalEnvironment(), gpus=0.5)


def test_too_many_cores(caplog: pytest.LogCaptureFixture) -> None:
    """That is logged, once, and the job runs."""
    with caplog.at_level(logging.WARNING, logger="sage.dataflow"):
        assert seen(LocalEnvironment(), cpus=1000, parallelism=2)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("operators ask for 2000 CPU cores in all, and there are ")


def test_without_asking() -> None:
    """Nothing is said, and nothing changed."""
    ((resources, _),) = seen(LocalEnvironment())
    assert resources == Resources(None, 0.0, ())


@pytest.mark.parametrize("option", [{"cpus": -1}, {"gpus": "all"}, {"gpus": -0.5}])
def test_wrong_values(option: dict[str, Any]) -> None:
    """They are numbers from 0."""
    with pytest.raises(ConfigError, match="give a number from 0"):
        LocalEnvironment().from_collection([1]).map(str, **option)


def test_a_gpu_and_a_half() -> None:
    """More than one is a whole number."""
    with pytest.raises(ConfigError, match=r"gpus is 1.5; above 1, give a whole number"):
        LocalEnvironment().from_collection([1]).map(str, gpus=1.5)


def plan_of(asked: list[tuple[float, int]]) -> Plan:
    env = LocalEnvironment()
    stream = env.from_collection([1])
    for gpus, parallelism in asked:
        stream = stream.map(str, gpus=gpus, parallelism=parallelism)
    stream.sink(print)
    return make_plan(env._graph)


GPUS = st.sampled_from([0, 0.25, 0.5, 0.75, 1, 2, 3])


@given(st.lists(st.tuples(GPUS, st.integers(1, 3)), min_size=1, max_size=4), st.integers(0, 8))
def test_nobody_gets_too_much(asked: list[tuple[float, int]], count: int) -> None:
    """No GPU is given away more than once over, and each replica has what it asked for; or an
    error says that there is too little."""
    plan = plan_of(asked)
    total = sum(gpus * parallelism for gpus, parallelism in asked)
    machine = Machine(8, tuple(map(str, range(count))))
    try:
        allocation = Allocation(plan, machine)
    except GraphError as error:
        assert total > count or "smaller pieces" in str(error)  # noqa: PT017 - either is right
        return
    assert total <= count
    load: Counter[str] = Counter()
    for stage in plan.stages:
        for index in range(stage.parallelism):
            share = allocation.share(stage, index)
            for node, resources in zip(stage.nodes, share.resources, strict=True):
                gpus = node.options.gpus or 0
                assert len(set(resources.devices)) == (max(int(gpus), 1) if gpus else 0)
                for device in resources.devices:
                    load[device] += min(gpus, 1)
    assert all(held <= 1 for held in load.values())


def test_replicas_take_turns() -> None:
    """Shares of GPUs go round, so that each GPU has some work."""
    plan = plan_of([(0.5, 4)])
    allocation = Allocation(plan, Machine(8, ("0", "1")))
    stage = plan.stages[1]
    devices = [allocation.share(stage, index).resources[0].devices for index in range(4)]
    assert devices == [("cuda:0",), ("cuda:1",), ("cuda:0",), ("cuda:1",)]
