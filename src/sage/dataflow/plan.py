"""From a graph to stages: which operators run together, and what lies between.

A pure function of the graph. Operators that follow each other with equal parallelism form one
stage, which runs in one thread a replica; between stages lie bounded channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sage.dataflow.graph import Graph, Kind, Node
from sage.dataflow.workers import Workers
from sage.errors import GraphError


@dataclass(frozen=True, slots=True)
class Stage:
    """Operators that run as one.

    Attributes:
        id: its place in the plan; its inputs come before it, unless it begins a loop.
        nodes: the operators, first to last.
        inputs: ids of the stages whose records it takes; empty for a stage with a source.
        outputs: ids of the stages that take its records; every one gets every record.
        keyed: whether its records go to its replicas by their key, each replica having a channel
            of its own; otherwise all replicas take from one channel.
        paired: whether each replica takes the records of the replica of the same number of its only
            input, by a channel of their own, so that what came in order goes on in order.
        loop: the stages of the feedback loop that begins here; empty when none does.
    """

    id: int
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    keyed: bool = False
    paired: bool = False
    loop: frozenset[int] = frozenset()

    @property
    def parallelism(self) -> int:
        """How many replicas the stage has."""
        return self.nodes[0].parallelism

    @property
    def workers(self) -> Workers:
        """Where its replicas live."""
        return self.nodes[0].workers

    @property
    def name(self) -> str:
        """The operators' names, joined by arrows."""
        return " → ".join(node.name for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a job."""

    stages: tuple[Stage, ...]


def make_plan(graph: Graph) -> Plan:
    """Fuse the graph's operators into stages.

    Raises:
        GraphError: the graph cannot run.
    """
    graph.check()
    stage_of: dict[int, int] = {}
    members: list[list[Node]] = []
    for node in graph.nodes:
        upstream = _fusable_input(graph, node)
        if upstream is None:
            stage_of[node.id] = len(members)
            members.append([node])
        else:
            stage_of[node.id] = stage_of[upstream.id]
            members[stage_of[node.id]].append(node)
    stages = [_stage(graph, id_, nodes, stage_of) for id_, nodes in enumerate(members)]
    stages = [replace(stage, paired=_is_paired(stage, stages)) for stage in stages]
    return Plan(tuple(_with_loop(stage, stages) for stage in stages))


def _fusable_input(graph: Graph, node: Node) -> Node | None:
    """Return the operator whose stage ``node`` joins, or None when it begins its own."""
    if len(node.inputs) != 1 or node.future:
        return None
    upstream = graph.nodes[node.inputs[0]]
    if len(graph.consumers(upstream)) > 1 or upstream.parallelism != node.parallelism:
        return None
    if node.is_async or node.workers is not upstream.workers:
        return None
    if node.keyed and node.parallelism > 1:
        return None
    # A source that may wait for its next record must not keep those it has given from moving on.
    if upstream.kind is Kind.SOURCE and not upstream.eager:
        return None
    return upstream


def _stage(graph: Graph, id_: int, nodes: list[Node], stage_of: dict[int, int]) -> Stage:
    return Stage(
        id=id_,
        nodes=tuple(nodes),
        inputs=tuple(stage_of[number] for number in nodes[0].inputs),
        outputs=tuple(stage_of[node.id] for node in graph.consumers(nodes[-1])),
        keyed=nodes[0].keyed and nodes[0].parallelism > 1,
    )


def _is_paired(stage: Stage, stages: Sequence[Stage]) -> bool:
    if stage.keyed or len(stage.inputs) != 1 or stage.parallelism == 1:
        return False
    return stages[stage.inputs[0]].parallelism == stage.parallelism


def _with_loop(stage: Stage, stages: Sequence[Stage]) -> Stage:
    """Return a stage that knows the loop which begins at it, if it has a future.

    Raises:
        GraphError: another loop begins within this one.
    """
    if not stage.nodes[0].future:
        return stage
    after = _reachable(stage.outputs, lambda number: stages[number].outputs)
    before = _reachable(stage.inputs, lambda number: stages[number].inputs)
    loop = frozenset(after & before)
    for number in loop - {stage.id}:
        if stages[number].nodes[0].future:
            raise GraphError(
                f"the loops of {stage.nodes[0].name!r} and {stages[number].nodes[0].name!r} share "
                "operators; a loop cannot lie within another one"
            )
    return replace(stage, loop=loop)


def _reachable(start: Iterable[int], following: Callable[[int], Iterable[int]]) -> set[int]:
    found: set[int] = set()
    left = list(start)
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left += following(number)
    return found
