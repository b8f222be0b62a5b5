"""What actors ask of their nodes, and who sends to whom."""

from __future__ import annotations

import sys

from sage.dataflow import LocalEnvironment
from sage.dataflow.plan import Plan, make_plan
from sage.dataflow.runtime.ray.placement import Needs, needs_of, share_of, total_of
from sage.dataflow.runtime.ray.wiring import links_of, producers_of, routes_of


def plan_of(env: LocalEnvironment) -> Plan:
    return make_plan(env._graph)


def test_operators_of_one_actor_add_up() -> None:
    """Cores, shares of GPUs and memory; what is not said is not asked for."""
    env = LocalEnvironment()
    stream = env.from_collection([1]).map(abs, cpus=2, gpus=0.5, memory="1GB")
    stream.map(abs, cpus=1, gpus=0.25).sink([])
    plan = plan_of(env)
    needs = needs_of(plan.stages[0])
    assert needs == Needs(3.0, 0.75, 10**9)
    assert needs.options() == {"num_cpus": 3.0, "num_gpus": 0.75, "memory": 10**9}
    assert str(needs) == "3 CPUs, 0.75 GPUs, 1.0 GB of memory"


def test_shares_of_gpus_are_not_split() -> None:
    """Three times 0.6 of a GPU needs three of them; each operator has its own."""
    env = LocalEnvironment()
    stream = env.from_collection([1])
    for _ in range(3):
        stream = stream.map(abs, gpus=0.6)
    stream.sink([])
    stage = plan_of(env).stages[0]
    assert needs_of(stage).gpus == 3
    given = [resources.devices for resources in share_of(stage, 3)]
    assert given == [(), ("cuda:0",), ("cuda:1",), ("cuda:2",), ()]


def test_a_job_asks_for_all_of_its_replicas() -> None:
    """By which it is told that a cluster is too small."""
    env = LocalEnvironment()
    env.from_collection([1]).map(abs, cpus=2, parallelism=3).map(abs, gpus=1).sink([])
    plan = plan_of(env)
    assert total_of(plan) == Needs(6.0, 1.0)
    assert Needs(6.0, 1.0).fit(Needs(6.0, 1.0))
    assert not Needs(6.1).fit(Needs(6.0, 1.0))


def test_who_sends_to_whom() -> None:
    """A shared stage has one channel, a keyed one one for each replica, a pair its own."""
    env = LocalEnvironment()
    numbers = env.from_collection([1, 2])
    shared = numbers.map(abs, parallelism=2, name="shared")
    keyed = shared.keyby(abs, parallelism=2).map(abs, parallelism=2, name="keyed")
    keyed.union(env.from_collection([3])).map(abs, name="last").sink([])
    plan = plan_of(env)
    by_name = {stage.nodes[0].name: stage for stage in plan.stages}
    actors = {
        stage.id: [f"{stage.nodes[0].name}{index}" for index in range(stage.parallelism)]
        for stage in plan.stages
    }

    def routes(name: str, index: int) -> list[tuple[int, tuple[tuple[str, ...], ...]]]:
        found = routes_of(plan, by_name[name], index, actors=actors, capacity=9)
        return [(route.seat, route.inboxes) for route in found]

    assert routes("collection", 0) == [(0, (("shared0", "shared1"),))]
    assert routes("shared", 1) == [(1, (("keyed0",), ("keyed1",)))]
    assert routes("keyed", 1) == [(1, (("last0",),))]
    assert routes("collection-2", 0) == [(2, (("last0",),))]
    assert producers_of(plan, by_name["last"]) == 3
    assert producers_of(plan, by_name["keyed"]) == 2
    assert links_of(plan) == 2 + 4 + 3


def test_a_loop_is_never_full() -> None:
    """What comes back to its beginning always finds room: nothing else could empty it."""
    env = LocalEnvironment()
    back = env.from_future("back")
    halves = env.from_collection([4]).union(back).map(lambda number: number // 2)
    halves.filter(bool, parallelism=2).fill_future(back)
    halves.sink([])
    plan = plan_of(env)
    into = next(stage for stage in plan.stages if any(plan.stages[o].loop for o in stage.outputs))
    actors = {stage.id: list(range(stage.parallelism)) for stage in plan.stages}
    capacities = {route.capacity for route in routes_of(plan, into, 0, actors=actors, capacity=9)}
    assert sys.maxsize in capacities
