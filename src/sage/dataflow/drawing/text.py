"""A plan as text."""

from __future__ import annotations

from sage.dataflow.drawing.facts import Edge, Site, edges, placement, role
from sage.dataflow.graph import Node
from sage.dataflow.plan import Plan, Stage
from sage.dataflow.workers import Workers


def draw_text(name: str, plan: Plan, site: Site) -> str:
    """Return a plan as text: by stage, where it runs, its operators, and where its records go.

    Args:
        name: of the pipeline.
        plan: what is drawn.
        site: where it runs, and how.
    """
    between = edges(plan, site)
    blocks = ["\n".join(_stage(stage, between, site)) for stage in plan.stages]
    return "\n".join([_heading(name, plan), *blocks])


def _heading(name: str, plan: Plan) -> str:
    operators = sum(len(stage.nodes) for stage in plan.stages)
    stages = len(plan.stages)
    return (
        f"{name}: {operators} operator{'s' * (operators > 1)} in "
        f"{stages} stage{'s' * (stages > 1)}; those of a stage run as one"
    )


def _stage(stage: Stage, between: list[Edge], site: Site) -> list[str]:
    replicas = f" ×{stage.parallelism}" if stage.parallelism > 1 else ""
    replicas += " in processes" if stage.workers is Workers.PROCESS else ""
    lines = [f"stage {stage.id}{replicas}: {stage.name}"]
    width = max(len(node.name) for node in stage.nodes)
    lines.append(f"  runs in {placement(stage, site)}")
    lines += [f"  │ {node.name:<{width}}  {role(node)}{_needs(node)}" for node in stage.nodes]
    ways = [_way(edge) for edge in between if edge.source is stage]
    corners = ["├─"] * (len(ways) - 1) + ["└─"]
    return lines + [f"  {corner} {way}" for corner, way in zip(corners, ways, strict=False)]


def _needs(node: Node) -> str:
    needs = node.options.needs()
    return f" ({needs})" if needs else ""


def _way(edge: Edge) -> str:
    target = f"→ stage {edge.target.id}"
    if not edge.channels:
        keyed = ", each key to the same replica" if edge.keyed else ""
        loop = ", back to where its loop begins" if edge.loop else ""
        return f"directly {target}{keyed}{loop}"
    room = "no bound" if edge.capacity is None else f"room for {edge.capacity:,} records"
    if edge.keyed:
        return f"channels by key {target}, one for each of its {edge.channels} replicas, {room}"
    if edge.target.paired:
        return f"a channel for each pair of replicas {target}, {room}"
    if edge.loop:
        return f"channel {target}, {room}, back to where its loop begins"
    replicas = f"its {edge.target.parallelism} replicas"
    if edge.channels > 1:
        return f"channel {target}, {room} before each of {replicas}"
    return f"channel {target}, {room}" + (f", shared by {replicas}" if edge.shared else "")
