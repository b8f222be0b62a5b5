"""Pickling a pipeline with its code, and saying what cannot be pickled."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from sage.dataflow import LocalEnvironment, MapFunction
from sage.dataflow.jobs.culprit import find_culprit
from sage.dataflow.jobs.packing import pack
from sage.dataflow.jobs.spec import PipelineSpec
from sage.errors import GraphError


class Client:
    def __init__(self) -> None:
        self.pool = {"busy": [1, threading.Lock()]}


class Embed(MapFunction):
    def __init__(self, client: Client | None = None) -> None:
        super().__init__()
        self.dimensions = 3
        self.client = client or Client()

    def execute(self, data: Any) -> Any:
        return data


def spec(operator: Any, *args: Any) -> PipelineSpec:
    env = LocalEnvironment("packed")
    env.from_collection([1, 2]).map(operator, *args, name="embed").sink(print)
    return PipelineSpec(env.name, env._graph, env.config)


def refusal(operator: Any, *args: Any) -> str:
    with pytest.raises(GraphError) as raised:
        pack(spec(operator, *args))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_pipeline_comes_back_as_it_was() -> None:
    """With a function of the script that made it."""
    factor = 3
    packed = pack(spec(lambda record: record * factor))
    unpacked: PipelineSpec = pickle.loads(packed)
    assert unpacked.name == "packed"
    assert [node.name for node in unpacked.graph.nodes] == ["collection", "embed", "print"]
    assert unpacked.graph.nodes[1].blueprint.given(5) == 15


def test_the_attribute_of_an_operator_is_named() -> None:
    """However deep it lies."""
    said = refusal(Embed())
    assert "operator 'embed' cannot be sent to the job manager: " in said
    assert "Embed.client.pool['busy'][1] is a lock" in said
    assert "make it in open()" in said


def test_the_argument_of_an_operator_class_is_named() -> None:
    """A class is given with its constructor's arguments."""
    assert "argument 0.pool['busy'][1] is a lock" in refusal(Embed, Client())


def test_the_variable_of_a_function_is_named() -> None:
    """One around it, or one of its module."""
    lock = threading.Lock()

    def locked(record: Any) -> Any:
        with lock:
            return record

    assert "locked → lock is a lock" in refusal(locked)


def test_a_generator_is_named() -> None:
    """It is the source itself."""
    env = LocalEnvironment("packed")
    env.from_source(number for number in range(3)).sink(print)
    with pytest.raises(GraphError, match=r"operator '.*' cannot be sent .* is a generator"):
        pack(PipelineSpec(env.name, env._graph, env.config))


def test_a_service_is_named() -> None:
    """It is the factory's argument that cannot be sent."""
    env = LocalEnvironment("packed")
    env.from_collection([1]).sink(print)
    env.register_service("model", Embed, Client())
    registrations = tuple(env._registrations)
    with pytest.raises(GraphError, match=r"service 'model' .*registration\.args\[0\]\.pool"):
        pack(PipelineSpec(env.name, env._graph, env.config, registrations=registrations))


def test_what_refers_to_itself_is_searched_once() -> None:
    """The search ends."""
    ring: dict[str, Any] = {"lock": threading.Lock()}
    ring = {"self": ring, **ring}
    ring["again"] = ring
    found = find_culprit("ring", ring, cloudpickle.dumps)
    assert found is not None
    assert found.path == "ring['self']['lock']"


def test_nothing_is_found_in_what_can_be_pickled() -> None:
    """Whatever it is."""
    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    assert find_culprit("function", lambda: 1, dumps) is None
