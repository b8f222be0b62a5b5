"""What the nodes of a cluster are asked to run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sage.cluster.config import RayConfig
from sage.config.paths import user_paths
from sage.config.settings import Settings
from sage.errors import ConfigError, ResourceError
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.plan import StackConfig, StackPlan
from sage.inference.engines.remote.config import RemoteConfig
from sage.inference.engines.remote.order import Need
from sage.inference.engines.remote.placement import Room
from sage.inference.engines.remote.plan import plan_remote

ROOMS = [Room("a", 4, 2), Room("b", 4, 2)]


def _plan(
    config: StackConfig, remote: RemoteConfig | None = None, rooms: list[Room] = ROOMS
) -> StackPlan:
    config = replace(config, gateway_port=0)
    return plan_remote(config, remote or RemoteConfig(), rooms, user_paths(), Settings())


def test_cpu_engines_share_what_is_free_and_get_as_many_threads() -> None:
    """Three engines over two nodes of four CPUs: two each, embeddings too."""
    plan = _plan(StackConfig(instances=2))
    assert [order.id for order in plan.orders] == ["llm-1", "llm-2", "embedding-1"]
    assert {order.need for order in plan.orders} == {Need(2, 0)}
    assert [order.options.threads for order in plan.orders[:2]] == [2, 2]
    assert plan.orders[2].options.extra == ("--threads", "2")
    # Two of them may come to lie on one node, whose memory they share.
    assert plan.orders[0].engines == 2


def test_threads_that_are_given_are_the_cpus() -> None:
    """As flags after `--`, which are passed on as they are."""
    options = EngineOptions(extra=("--threads", "3"))
    (order,) = _plan(StackConfig(embedding=False, options=options)).orders
    assert order.need == Need(3, 0)
    assert order.options == options


def test_vllm_takes_the_gpus_that_a_model_is_split_over() -> None:
    """One by default, and what --gpus says before all."""
    vllm = StackConfig(model="org/model", embedding=False)
    assert _plan(vllm).orders[0].need == Need(1, 1)
    split = replace(vllm, options=EngineOptions(tensor_parallel_size=2))
    assert _plan(split).orders[0].need == Need(1, 2)
    assert _plan(split, RemoteConfig(gpus=0, cpus=4)).orders[0].need == Need(4, 0)


def test_an_embedding_model_alone_takes_what_is_asked() -> None:
    """Its options and amounts are then the engine's own."""
    options = EngineOptions(extra=("--max-batch-tokens", "64"))
    config = StackConfig(llm=False, options=options)
    (order,) = _plan(config, RemoteConfig(cpus=3, gpus=1)).orders
    assert (order.id, order.need) == ("embedding-1", Need(3, 1))
    assert order.options.extra == ("--threads", "3", "--max-batch-tokens", "64")


def test_the_engine_is_settled_before_a_node_is_chosen() -> None:
    """By name and form of what is asked for: the model need not be on this machine."""
    for asked, engine in (
        (None, EngineKind.LLAMA_CPP),
        ("/models/x.gguf", EngineKind.LLAMA_CPP),
        ("org/model", EngineKind.VLLM),
    ):
        (order,) = _plan(StackConfig(model=asked, embedding=False)).orders
        assert order.engine is engine


def test_a_path_here_means_the_same_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes work in folders of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.gguf").touch()
    (order,) = _plan(StackConfig(model="x.gguf", embedding=False)).orders
    assert order.model == str(tmp_path / "x.gguf")


def test_what_does_not_fit_is_refused_unless_it_is_waited_for() -> None:
    """Both numbers, and what to do."""
    config = StackConfig(
        model="org/model", embedding=False, options=EngineOptions(tensor_parallel_size=4)
    )
    with pytest.raises(ResourceError) as caught:
        _plan(config)
    assert str(caught.value) == (
        "1 engine needs 1 CPU and 4 GPUs on one node; free: 4 CPUs and 2 GPUs on a, 4 CPUs and "
        "2 GPUs on b; ask for less (--instances, --cpus, --gpus), add nodes, or --wait for them"
    )
    assert len(_plan(config, RemoteConfig(RayConfig(wait=True))).orders) == 1


@pytest.mark.parametrize(("cpus", "gpus"), [(0, None), (-1, None), (None, -1), (None, 1.5)])
def test_amounts_that_no_engine_can_have(cpus: float | None, gpus: float | None) -> None:
    """Named by their options."""
    with pytest.raises(ConfigError, match=r"--cpus must be|--gpus"):
        RemoteConfig(cpus=cpus, gpus=gpus)


def test_ports_of_engines_on_a_cluster_are_the_nodes_own() -> None:
    """A port that is free here says nothing about a node."""
    with pytest.raises(ConfigError, match="each takes a free port of its node"):
        StackConfig(llm_port=8001, remote=RemoteConfig())
