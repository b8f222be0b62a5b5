"""A plan, drawn."""

from __future__ import annotations

from sage.dataflow.choices import read_choice
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.drawing.facts import DrawingFormat
from sage.dataflow.drawing.mermaid import draw_mermaid
from sage.dataflow.drawing.svg import draw_svg
from sage.dataflow.drawing.text import draw_text
from sage.dataflow.plan import Plan


def draw(name: str, plan: Plan, config: EnvironmentConfig, format_: str) -> str:
    """Return a drawing of a plan.

    Args:
        name: of the pipeline.
        plan: what is drawn.
        config: of the environment.
        format_: a `DrawingFormat`.

    Raises:
        ConfigError: there is no such format.
    """
    match read_choice(DrawingFormat, format_, "explain(format=…)"):
        case DrawingFormat.MERMAID:
            return draw_mermaid(plan, config)
        case DrawingFormat.SVG:
            return draw_svg(name, plan, config)
        case DrawingFormat.TEXT:
            return draw_text(name, plan, config)
