"""What every drawing says of a stage and of what lies between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sage.dataflow.asynchronous import DEFAULT_CONCURRENCY
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.graph import Kind, Node
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.workers import Workers


class DrawingFormat(StrEnum):
    """How a plan is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


@dataclass(frozen=True, slots=True)
class Edge:
    """What takes records from one stage to another.

    Attributes:
        source: the stage that emits.
        target: the stage that takes.
        loop: whether it closes a feedback loop.
        keyed: whether a record's key says which replica takes it.
        channels: how many there are; 0 where records are handed on in the same thread.
        capacity: records that may wait in each; None without a bound.
    """

    source: Stage
    target: Stage
    loop: bool
    keyed: bool
    channels: int
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


def edges(plan: Plan, config: EnvironmentConfig) -> list[Edge]:
    """Return what lies between the stages."""
    return [
        _edge(stage, plan.stages[target], config)
        for stage in plan.stages
        for target in dict.fromkeys(stage.outputs)
    ]


def _edge(source: Stage, target: Stage, config: EnvironmentConfig) -> Edge:
    inline = config.workers is Workers.INLINE
    channels = target.parallelism if target.keyed or target.paired else 1
    return Edge(
        source=source,
        target=target,
        loop=source.id in target.loop,
        keyed=target.keyed,
        channels=0 if inline else channels,
        capacity=None if target.loop else config.channel_capacity,
    )


def placement(stage: Stage, config: EnvironmentConfig) -> str:
    """Say where a stage's replicas run, as in "4 processes"."""
    count = stage.parallelism
    if config.workers is Workers.INLINE:
        return "the caller's thread" + (f", {count} replicas" if count > 1 else "")
    home = "process" if stage.workers is Workers.PROCESS else "thread"
    plural = "es" if home == "process" else "s"
    return f"{count} {home}{plural if count > 1 else ''}"


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
