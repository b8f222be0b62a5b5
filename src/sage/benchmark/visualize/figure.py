"""Charts as SVG that takes its colours from the page it stands in."""

from __future__ import annotations

import html
import importlib.util
import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib is given these, and the page's own colours are put in their place.
INK = "#010101"
MUTED = "#020202"
GRID = "#030303"
GOOD = "#040404"
BAD = "#050505"
SERIES = tuple(f"#0a0a{number:02x}" for number in range(8))
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    GOOD: "--good",
    BAD: "--bad",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
}
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
# Steps of a logarithmic axis that spans fewer than so many decades.
_STEPS = ((1.7, (1.0, 2.0, 5.0)), (2.7, (1.0, 3.0)))
_ROOT = re.compile(r"<svg\b.*?>", re.DOTALL)
_VIEW = re.compile(r'viewBox="([^"]+)"')
_SHEET = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        name: its id in the page.
        title: what it shows.
        description: how to read it and what it says, in words.
        svg: the picture, to be put into a page as it is.
    """

    name: str
    title: str
    description: str
    svg: str


def draw(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
) -> Chart:
    """Draw a chart; the same data give the same bytes.

    Args:
        name: unlike that of any other chart of the page; its ids begin with it.
        title: what it shows.
        description: in words, for those who do not see it.
        size: width and height in inches, of which the page makes its full width.
        paint: puts the content onto the figure.

    Raises:
        ConfigError: matplotlib is missing.
    """
    with _styled(name) as figure_of:
        figure = figure_of(size)
        paint(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return Chart(name, title, description, _embedded(written.getvalue(), name, title, description))


def check_charts() -> None:
    """Raise ConfigError when matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "charts need matplotlib: pip install 'sage-stack[bench]'; "
            "reports ending in .md and .csv do without"
        )


@contextmanager
def _styled(name: str) -> Iterator[Callable[[tuple[float, float]], Figure]]:
    check_charts()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # A user's own matplotlibrc must not change a report.
    style: Any = {**mpl.rcParamsDefault, **_STYLE, "svg.hashsalt": name}
    del style["backend"]  # not drawn with
    with mpl.rc_context(style):
        yield lambda size: Figure(figsize=size, layout="constrained")


def _embedded(text: str, name: str, title: str, description: str) -> str:
    root = _ROOT.search(text)
    view = _VIEW.search(text)
    if root is None or view is None:
        raise RuntimeError("matplotlib wrote an SVG without a root or view box")
    body = _METADATA.sub("", _SHEET.sub("", text[root.end() :], count=1))
    # Ids are of the whole page, and matplotlib gives each figure the same ones.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    head = (
        f'<svg viewBox="{view[1]}" role="img" aria-labelledby="{name}-title {name}-desc">\n'
        f'<title id="{name}-title">{html.escape(title)}</title>\n'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return head + body.rstrip()


def logarithmic(low: float, high: float) -> bool:
    """Whether values from ``low`` to ``high`` need a logarithmic axis to be told apart."""
    return low > 0 and high / low > 20


def plain_numbers(axes: Axes, which: str) -> None:
    """Label a logarithmic axis, once drawn, with numbers as they are read, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = next((steps for upto, steps in _STEPS if decades < upto), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def above(figure: Figure, axes: Axes, *, beside: Axes | None = None) -> None:
    """Put the legend of ``axes`` above the charts, where it hides no line.

    Args:
        figure: that the axes are of.
        axes: whose lines are named.
        beside: other axes, whose lines are named too.
    """
    handles, labels = axes.get_legend_handles_labels()
    if beside is not None:
        more_handles, more_labels = beside.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    figure.legend(handles, labels, loc="outside upper right", ncols=4)
