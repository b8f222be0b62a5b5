"""A plan, drawn."""

from __future__ import annotations

from sage.dataflow.choices import read_choice
from sage.dataflow.drawing.facts import DrawingFormat, Site
from sage.dataflow.drawing.mermaid import draw_mermaid
from sage.dataflow.drawing.svg import draw_svg
from sage.dataflow.drawing.text import draw_text
from sage.dataflow.plan import Plan


def draw(name: str, plan: Plan, site: Site, format_: str) -> str:
    """Return a drawing of a plan.

    Args:
        name: of the pipeline.
        plan: what is drawn.
        site: where it runs, and how.
        format_: a `DrawingFormat`.

    Raises:
        ConfigError: there is no such format.
    """
    match read_choice(DrawingFormat, format_, "explain(format=…)"):
        case DrawingFormat.MERMAID:
            return draw_mermaid(plan, site)
        case DrawingFormat.SVG:
            return draw_svg(name, plan, site)
        case DrawingFormat.TEXT:
            return draw_text(name, plan, site)
