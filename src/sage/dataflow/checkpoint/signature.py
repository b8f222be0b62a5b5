"""What of a graph must be the same for a job to go on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Node
from sage.errors import GraphChangedError


@dataclass(frozen=True, slots=True)
class OperatorSignature:
    """One operator of a graph; its parallelism and options may change.

    Attributes:
        name: unique in the graph.
        kind: "source", "map", "sink", ….
        what: the name of its class or function, whatever module it is in; empty for a lambda, and
            for a source that is a plain iterable.
        inputs: names of the operators that it reads.
        keyed: whether it reads keyed records.
    """

    name: str
    kind: str
    what: str
    inputs: tuple[str, ...]
    keyed: bool


def sign(nodes: Iterable[Node]) -> tuple[OperatorSignature, ...]:
    """Return the signatures of all operators of a graph."""
    nodes = tuple(nodes)
    names = {node.id: node.name for node in nodes}
    return tuple(
        OperatorSignature(
            name=node.name,
            kind=node.kind.value,
            what=_what(node.blueprint),
            inputs=tuple(names[input_] for input_ in node.inputs),
            keyed=node.keyed,
        )
        for node in nodes
    )


def check_same_graph(
    number: int, saved: Sequence[OperatorSignature], current: Sequence[OperatorSignature]
) -> None:
    """Raise `GraphChangedError` unless a job of the current graph can go on from a saved one.

    Args:
        number: of the checkpoint, for the message.
        saved: the graph of the checkpoint.
        current: the graph that would resume.
    """
    found = differences(saved, current)
    if found:
        raise GraphChangedError(number, found)


def differences(
    saved: Sequence[OperatorSignature], current: Sequence[OperatorSignature]
) -> list[str]:
    """Return a sentence for each difference; none when a job can go on."""
    before = {operator.name: operator for operator in saved}
    now = {operator.name: operator for operator in current}
    missing = [f"operator {name!r} is missing" for name in before if name not in now]
    new = [f"operator {name!r} is new" for name in now if name not in before]
    changed = [
        sentence
        for name, operator in now.items()
        if name in before
        for sentence in _changes(before[name], operator)
    ]
    return missing + new + changed


def _changes(before: OperatorSignature, now: OperatorSignature) -> Iterator[str]:
    operator = f"operator {now.name!r}"
    if now.kind != before.kind:
        yield f"{operator} was a {before.kind} and is a {now.kind}"
    if now.what != before.what:
        yield f"{operator} runs {_named(now)} instead of {_named(before)}"
    # The order of inputs says nothing: the two sides of a connect have operators of their own.
    if set(now.inputs) != set(before.inputs):
        yield f"{operator} reads {_listed(now.inputs)} instead of {_listed(before.inputs)}"
    if now.keyed != before.keyed:
        words = ("is", "was not") if now.keyed else ("is not", "was")
        yield f"{operator} {words[0]} behind a keyby and {words[1]} before"


def _what(blueprint: Blueprint) -> str:
    # That the same records come as a tuple instead of a list makes no difference.
    is_records = not (blueprint.is_class or blueprint.is_instance or callable(blueprint.given))
    return "" if is_records else blueprint.label


def _named(operator: OperatorSignature) -> str:
    if operator.what:
        return operator.what
    return "an iterable" if operator.kind == "source" else "a lambda"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names) or "nothing"
