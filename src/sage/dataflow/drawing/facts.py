"""What every drawing says of a stage and of what lies between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sage.dataflow.asynchronous import DEFAULT_CONCURRENCY
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.graph import Kind, Node
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.runtime.ray.placement import needs_of
from sage.dataflow.workers import Workers


class DrawingFormat(StrEnum):
    """How a plan is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a plan runs, and how.

    Attributes:
        config: of the environment.
        on_ray: whether its replicas are actors of a Ray cluster.
    """

    config: EnvironmentConfig
    on_ray: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """What takes records from one stage to another.

    Attributes:
        source: the stage that emits.
        target: the stage that takes.
        loop: whether it closes a feedback loop.
        keyed: whether a record's key says which replica takes it.
        channels: how many there are; 0 where records are handed on in the same thread.
        shared: whether all replicas of the target take from the same channel.
        capacity: records that may wait in each; None without a bound.
    """

    source: Stage
    target: Stage
    loop: bool
    keyed: bool
    channels: int
    shared: bool
    capacity: int | None

    @property
    def label(self) -> str:
        """A few words for a drawing."""
        way = "by key" if self.keyed else ""
        if self.loop:
            way = "feedback"
        if not self.channels:
            return f"{way}, direct".removeprefix(", ")
        room = f"{self.capacity:,}" if self.capacity is not None else "no bound"
        if self.channels > 1:
            room = f"{self.channels} × {room}"
        return f"{way}: {room}" if way else f"channel: {room}"


def edges(plan: Plan, site: Site) -> list[Edge]:
    """Return what lies between the stages."""
    return [
        _edge(stage, plan.stages[target], site)
        for stage in plan.stages
        for target in dict.fromkeys(stage.outputs)
    ]


def _edge(source: Stage, target: Stage, site: Site) -> Edge:
    inline = site.config.workers is Workers.INLINE
    apart = target.keyed or target.paired
    # An actor has an inbox of its own, whoever may take a record.
    channels = target.parallelism if apart or site.on_ray else 1
    return Edge(
        source=source,
        target=target,
        loop=source.id in target.loop,
        keyed=target.keyed,
        channels=0 if inline else channels,
        shared=target.parallelism > 1 and not (apart or site.on_ray),
        capacity=None if target.loop else site.config.channel_capacity,
    )


def placement(stage: Stage, site: Site) -> str:
    """Say where a stage's replicas run, as in "4 processes"."""
    count = stage.parallelism
    if site.on_ray:
        return _actors(stage)
    if site.config.workers is Workers.INLINE:
        return "the caller's thread" + (f", {count} replicas" if count > 1 else "")
    home = "process" if stage.workers is Workers.PROCESS else "thread"
    plural = "es" if home == "process" else "s"
    return f"{count} {home}{plural if count > 1 else ''}"


def _actors(stage: Stage) -> str:
    count, asked = stage.parallelism, needs_of(stage).asked()
    words = f"{count} Ray actor{'s' * (count > 1)}"
    if stage.workers is Workers.PROCESS:
        words += f" with a worker process{' each' * (count > 1)}"
    if not asked:
        return f"{words}, on any node"
    return f"{words}, {'each ' * (count > 1)}on a node with {asked}"


def role(node: Node) -> str:
    """Say what an operator is, as in "map, async, 64 in flight, in order"."""
    words = ["feedback" if node.future else node.kind.value]
    if node.keyed:
        words.append("keyed")
    if node.is_async:
        words.append("async")
        words.append(f"{node.options.concurrency or DEFAULT_CONCURRENCY} in flight")
        words.append("in order" if node.options.ordered else "as they are done")
    if node.kind is Kind.SOURCE and not node.eager:
        words.append("may wait")
    return ", ".join(words)
