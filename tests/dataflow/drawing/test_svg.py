"""The plan as SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from sage.dataflow import LocalEnvironment
from sage.dataflow.drawing.layout import lay_out

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_operator_and_channel_is_there() -> None:
    """A box a stage with its operators, a line a channel with its label."""
    env = LocalEnvironment("words")
    env.from_collection([1]).keyby(str, name="by_text").reduce(
        max, parallelism=2, name="largest"
    ).sink(print, name="out")
    svg = env.explain("svg")
    root = ET.fromstring(svg)
    assert texts(svg) == [
        *("stage 0: 1 thread", "collection", "source", "by_text", "keyby"),
        *("stage 1: 2 threads", "largest", "flatmap, keyed"),
        *("stage 2: 1 thread", "out", "sink"),
        *("by key: 2 × 8,192", "channel: 8,192"),
    ]
    assert len([e for e in root.iter(f"{SVG}path") if e.get("class") == "line"]) == 2
    assert root.findtext(f"{SVG}title") == "words"


def test_it_needs_nothing_from_outside() -> None:
    """No file, font or script is asked for."""
    env = LocalEnvironment()
    env.from_collection([1]).sink(print)
    svg = env.explain("svg")
    assert svg.count("http") == 1  # the namespace
    assert "<script" not in svg
    assert "url(#arrow)" not in svg  # one stage has no lines


def test_names_are_escaped_and_shortened() -> None:
    """Names are no markup; a long one is whole in its tooltip only."""
    env = LocalEnvironment("<&>")
    env.from_collection([1], name='<b>"&amp;"</b>\x00').sink(print, name="n" * 200)
    svg = env.explain("svg")
    assert '<b>"&amp;"</b> ' in texts(svg)
    assert "n" * 33 + "…" in texts(svg)
    titles = [element.text for element in ET.fromstring(svg).iter(f"{SVG}title")]
    assert "n" * 200 in titles


def test_a_loop_runs_back_below() -> None:
    """What closes a loop is a line of its own kind, below every box."""
    env = LocalEnvironment()
    again = env.from_future("again")
    ways = env.from_collection([1]).union(again).split(lambda x: "back" if x < 3 else "on")
    ways["back"].map(lambda x: x + 1, name="more").fill_future(again)
    ways["on"].sink(print)
    svg = env.explain("svg")
    assert svg.count('class="line back"') == 1
    assert "feedback: no bound" in texts(svg)


def test_several_loops() -> None:
    """Each loop has a lane of its own, within the drawing."""
    layout = lay_out(
        [(50, 40)] * 4,
        [(0, 1), (1, 2), (2, 3), (1, 0), (3, 2), (2, 2)],
        [False, False, False, True, True, True],
        [30] * 6,
    )
    lanes = [line.label[1] for line in layout.lines if line.back]
    assert len(set(lanes)) == 3
    for line in layout.lines:
        assert all(0 < x < layout.width and 0 < y < layout.height for x, y in line.points)
