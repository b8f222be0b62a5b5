"""What a pipeline consists of: operators and who reads whom. Nothing here runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.options import OperatorOptions
from sage.dataflow.workers import Workers
from sage.errors import GraphError


class Kind(StrEnum):
    """What an operator does with a record."""

    SOURCE = "source"
    MAP = "map"
    FLATMAP = "flatmap"
    FILTER = "filter"
    KEYBY = "keyby"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        id: its place in the graph.
        kind: what it does.
        name: unique in the graph.
        blueprint: how its replicas are made.
        parallelism: how many replicas it has.
        inputs: ids of the operators it reads.
        eager: of a source, whether its records are all in memory already, so that reading them
            never waits.
        bounded: of a source, whether None ends it.
        future: whether it stands for a stream that is made further down, and reads it.
        keyed: whether it reads the (key, record) pairs of a keyby; with several replicas, all
            records of a key go to the same one.
        options: what else was said of it.
        workers: where its replicas live.
    """

    id: int
    kind: Kind
    name: str
    blueprint: Blueprint
    parallelism: int
    inputs: tuple[int, ...] = ()
    eager: bool = False
    bounded: bool = True
    keyed: bool = False
    future: bool = False
    options: OperatorOptions = field(default_factory=OperatorOptions)
    workers: Workers = Workers.THREAD

    @property
    def is_async(self) -> bool:
        """Whether it is a coroutine function, run on an event loop."""
        return self.kind is not Kind.SOURCE and self.blueprint.is_async


class Graph:
    """Operators in the order they were added; their inputs come before all but futures."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._names: set[str] = set()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All operators."""
        return tuple(self._nodes)

    def add(
        self,
        kind: Kind,
        blueprint: Blueprint,
        *,
        name: str | None,
        parallelism: int,
        inputs: tuple[int, ...] = (),
        eager: bool = False,
        bounded: bool = True,
        keyed: bool = False,
        future: bool = False,
        options: OperatorOptions,
        workers: Workers = Workers.THREAD,
    ) -> Node:
        """Add an operator and return it.

        Raises:
            GraphError: the name was given by the user and is taken.
        """
        if name is not None and name in self._names:
            raise GraphError(f"there is already an operator named {name!r}; names are unique")
        unique = name or self.free_name(blueprint.label or kind.value)
        self._names.add(unique)
        node = Node(
            id=len(self._nodes),
            kind=kind,
            name=unique,
            blueprint=blueprint,
            parallelism=parallelism,
            inputs=inputs,
            eager=eager,
            bounded=bounded,
            keyed=keyed,
            future=future,
            options=options,
            workers=workers,
        )
        self._nodes.append(node)
        return node

    def fill(self, future: Node, inputs: tuple[int, ...]) -> None:
        """Let a future read the stream that it stands for.

        Raises:
            GraphError: it does already.
        """
        if self._nodes[future.id].inputs:
            raise GraphError(f"from_future({future.name!r}) is filled already")
        self._nodes[future.id] = replace(future, inputs=inputs)

    def replaced(self, nodes: Iterable[Node]) -> Graph:
        """Return a graph of other operators in the places of these."""
        graph = Graph()
        graph._nodes = list(nodes)
        graph._names = {node.name for node in graph._nodes}
        return graph

    def consumers(self, node: Node) -> list[Node]:
        """Return the operators that read ``node``."""
        return [other for other in self._nodes if node.id in other.inputs]

    def check(self) -> None:
        """Raise `GraphError` unless the graph can run."""
        if not self._nodes:
            raise GraphError("the pipeline is empty; begin with from_source or from_collection")
        for node in self._nodes:
            if node.future and not node.inputs:
                raise GraphError(
                    f"from_future({node.name!r}) was never filled; call fill_future() on the "
                    "stream that it stands for"
                )
            if node.kind is not Kind.SINK and not self.consumers(node):
                raise GraphError(
                    f"nothing reads operator {node.name!r}; end its stream with sink() or print()"
                )

    def free_name(self, base: str) -> str:
        """Return ``base``, with a number when it is taken."""
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}-{number}"
        return name
