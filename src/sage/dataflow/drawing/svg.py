"""A plan as SVG: one file, with nothing from outside."""

from __future__ import annotations

import unicodedata
from html import escape
from itertools import pairwise

from sage.dataflow.drawing.facts import Edge, Site, edges, placement, role
from sage.dataflow.drawing.layout import Box, Layout, Line, lay_out
from sage.dataflow.graph import Node
from sage.dataflow.plan import Plan, Stage

# Pixels of a character of the fixed-width font, at its size of 12.
CHARACTER = 7.3
ROW = 34.0
HEAD = 26.0
PADDING = 12.0
LONGEST = 34

_STYLE = (
    "text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "fill:#1f2933}.role,.head{fill:#52606d}.head{font-size:11px}"
    ".box{fill:#f5f7fa;stroke:#52606d}.operator{fill:#fff;stroke:#cbd2d9}"
    ".line{fill:none;stroke:#3e6fb0;stroke-width:1.5}.back{stroke:#b0563e;stroke-dasharray:5 4}"
    ".label{text-anchor:middle}.behind{fill:#fff}"
)


def draw_svg(name: str, plan: Plan, site: Site) -> str:
    """Return a plan as an SVG document: a box a stage, in it its operators, lines with labels.

    Args:
        name: of the pipeline, the document's title.
        plan: what is drawn.
        site: where it runs, and how.
    """
    between = edges(plan, site)
    layout = lay_out(
        [_size(stage, site) for stage in plan.stages],
        [(edge.source.id, edge.target.id) for edge in between],
        [edge.loop for edge in between],
        [_width(edge.label) for edge in between],
    )
    body = [_stage(stage, box, site) for stage, box in zip(plan.stages, layout.boxes, strict=True)]
    body += [_line(line) for line in layout.lines]
    body += [_label(edge, line) for edge, line in zip(between, layout.lines, strict=True)]
    return "\n".join([_head(name, layout), *body, "</svg>"])


def _head(name: str, layout: Layout) -> str:
    width, height = round(layout.width), round(layout.height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<title>{_text(name)}</title>\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker>'
        '</defs>\n<rect width="100%" height="100%" fill="#fff"/>'
    )


def _size(stage: Stage, site: Site) -> tuple[float, float]:
    texts = [_heading(stage, site)]
    for node in stage.nodes:
        texts += [_short(node.name), role(node)]
    return max(map(_width, texts)) + 4 * PADDING, HEAD + ROW * len(stage.nodes) + PADDING


def _stage(stage: Stage, box: Box, site: Site) -> str:
    parts = [
        f'<g><rect class="box" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="8"/>',
        f'<text class="head" x="{box.x + PADDING:.1f}" y="{box.y + 17:.1f}">'
        f"{_text(_heading(stage, site))}</text>",
    ]
    for number, node in enumerate(stage.nodes):
        parts.append(_operator(node, box, box.y + HEAD + number * ROW))
    return "\n".join([*parts, "</g>"])


def _operator(node: Node, box: Box, y: float) -> str:
    x = box.x + PADDING
    return (
        f"<g><title>{_text(node.name)}</title>"
        f'<rect class="operator" x="{x:.1f}" y="{y:.1f}" width="{box.width - 2 * PADDING:.1f}" '
        f'height="{ROW - 2:.1f}" rx="4"/>'
        f'<text x="{x + PADDING:.1f}" y="{y + 13:.1f}">{_text(_short(node.name))}</text>'
        f'<text class="role" x="{x + PADDING:.1f}" y="{y + 27:.1f}">{_text(role(node))}</text></g>'
    )


def _line(line: Line) -> str:
    (x, y), *rest = line.points
    path = [f"M{x:.1f} {y:.1f}"]
    if line.back:
        path += [f"L{x:.1f} {y:.1f}" for x, y in rest]
        return f'<path class="line back" d="{"".join(path)}" marker-end="url(#arrow)"/>'
    for number, ((x1, y1), (x2, y2)) in enumerate(pairwise(line.points)):
        # Every second piece passes a column, straight on.
        bend = (x2 - x1) / 2
        path.append(
            f"L{x2:.1f} {y2:.1f}"
            if number % 2
            else f"C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        )
    return f'<path class="line" d="{"".join(path)}" marker-end="url(#arrow)"/>'


def _label(edge: Edge, line: Line) -> str:
    x, y = line.label
    width = _width(edge.label) + 6
    return (
        f'<rect class="behind" x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" '
        f'height="18"/>'
        f'<text class="label" x="{x:.1f}" y="{y + 4:.1f}">{_text(edge.label)}</text>'
    )


def _heading(stage: Stage, site: Site) -> str:
    return f"stage {stage.id}: {placement(stage, site)}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _width(text: str) -> float:
    cells = sum(1 + (unicodedata.east_asian_width(char) in "FW") for char in text)
    return cells * CHARACTER


def _text(text: str) -> str:
    """Escape a text, leaving out what no XML document may contain."""
    return escape("".join(char if char.isprintable() else " " for char in text))
