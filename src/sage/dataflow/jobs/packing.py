"""Pickling a pipeline with the code of its operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.dataflow.jobs.culprit import find_culprit
from sage.dataflow.jobs.own_modules import own_modules_by_value
from sage.dataflow.jobs.pickling import load_cloudpickle
from sage.dataflow.jobs.spec import PipelineSpec
from sage.errors import GraphError

_ADVICE = "make it in open(), or say in __getstate__() what to leave out"


def pack(spec: PipelineSpec) -> bytes:
    """Return a pipeline pickled, with the code of the script that made it.

    Raises:
        ConfigError: cloudpickle is not installed.
        GraphError: something in it cannot be pickled; names the operator and the attribute.
    """
    cloudpickle = load_cloudpickle()
    with own_modules_by_value(cloudpickle):
        try:
            packed: bytes = cloudpickle.dumps(spec)
        except Exception as error:
            raise GraphError(_blame(spec, cloudpickle, error)) from error
    return packed


def _blame(spec: PipelineSpec, cloudpickle: Any, error: Exception) -> str:
    for whose, name, value in _parts(spec):
        culprit = find_culprit(name, value, cloudpickle.dumps)
        if culprit is not None:
            return f"{whose} cannot be sent to the job manager: {culprit}; {_ADVICE}"
    return f"the pipeline cannot be sent to the job manager: {error}"


def _parts(spec: PipelineSpec) -> Iterator[tuple[str, str, Any]]:
    """Yield what the user gave: whose it is, what to call it, and the thing itself."""
    for node in spec.graph.nodes:
        given = node.blueprint.given
        whose = f"operator {node.name!r}"
        name = getattr(given, "__name__", None) or type(given).__name__
        yield whose, name, given
        for index, value in enumerate(node.blueprint.args):
            yield whose, f"argument {index}", value
        for key, value in node.blueprint.kwargs.items():
            yield whose, f"argument {key}", value
        yield whose, "what it is wrapped in", node.blueprint.wrap
        yield whose, "options", node.options
    for registration in spec.registrations:
        yield f"service {registration.name!r}", "registration", registration
    yield "the sink of dead letters", type(spec.dead_letter_sink).__name__, spec.dead_letter_sink
    yield "the config", "config", spec.config
    yield 'config["ray"]', "ray", spec.ray
