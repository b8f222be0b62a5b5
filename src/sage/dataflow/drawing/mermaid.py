"""A plan as a Mermaid flowchart."""

from __future__ import annotations

from sage.dataflow.drawing.facts import Edge, Site, edges, placement, role
from sage.dataflow.graph import Kind, Node
from sage.dataflow.plan import Plan, Stage

# What Mermaid reads as markup within quotes; "#" first begins its own escapes.
_ESCAPED = str.maketrans({char: f"#{ord(char)};" for char in '#"<>&`*_~\\[]{}()|;\n\r'})


def draw_mermaid(plan: Plan, site: Site) -> str:
    """Return a plan as Mermaid text: a subgraph a stage, in it its operators.

    Args:
        plan: what is drawn.
        site: where it runs, and how.
    """
    lines = ["flowchart LR"]
    for stage in plan.stages:
        lines += _stage(stage, site)
    lines += [_edge(edge) for edge in edges(plan, site)]
    return "\n".join(lines)


def _stage(stage: Stage, site: Site) -> list[str]:
    lines = [f'  subgraph stage{stage.id}["stage {stage.id}: {placement(stage, site)}"]']
    lines += [f"    {_node(node)}" for node in stage.nodes]
    lines += [
        f"    op{first.id} --> op{second.id}"
        for first, second in zip(stage.nodes, stage.nodes[1:], strict=False)
    ]
    return [*lines, "  end"]


def _node(node: Node) -> str:
    text = f'"{node.name.translate(_ESCAPED)}<br/>{role(node)}"'
    if node.kind is Kind.SOURCE:
        return f"op{node.id}([{text}])"
    if node.kind is Kind.SINK:
        return f"op{node.id}[[{text}]]"
    return f"op{node.id}[{text}]"


def _edge(edge: Edge) -> str:
    arrow = "-.->" if edge.loop else "-->"
    source, target = edge.source.nodes[-1].id, edge.target.nodes[0].id
    return f'  op{source} {arrow}|"{edge.label}"| op{target}'
