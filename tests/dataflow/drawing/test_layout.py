"""Boxes in columns, lines between them."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.drawing.layout import Box, Layout, lay_out


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw(st.integers(1, 12))
    sizes = [(draw(st.floats(40, 300)), draw(st.floats(30, 200))) for _ in range(count)]
    pairs = [(first, second) for first, second in combinations(range(count), 2)]
    links = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    return sizes, links


def placed(graph: tuple[list[tuple[float, float]], list[tuple[int, int]]]) -> Layout:
    sizes, links = graph
    return lay_out(sizes, links, [False] * len(links), [120.0] * len(links))


def overlap(first: Box, second: Box) -> bool:
    return (
        first.x < second.x + second.width
        and second.x < first.x + first.width
        and first.y < second.y + second.height
        and second.y < first.y + first.height
    )


@given(graphs())
def test_boxes_do_not_overlap(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    """No two boxes lie over each other, and all lie within the drawing."""
    layout = placed(graph)
    assert not any(overlap(first, second) for first, second in combinations(layout.boxes, 2))
    for box in layout.boxes:
        assert 0 <= box.x <= box.x + box.width <= layout.width
        assert 0 <= box.y <= box.y + box.height <= layout.height


@given(graphs())
def test_lines_go_on_and_pass_no_box(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    """A line goes from left to right, from its box to its box, and passes others outside."""
    layout = placed(graph)
    for (source, target), line in zip(graph[1], layout.lines, strict=True):
        xs = [x for x, _ in line.points]
        assert xs == sorted(xs)
        begin, end = layout.boxes[source], layout.boxes[target]
        assert xs[0] == begin.x + begin.width
        assert xs[-1] == end.x
        for x, y in line.points[1:-1]:
            for box in layout.boxes:
                within = box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height
                assert not within


@given(graphs())
def test_labels_do_not_overlap(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    """No two labels lie over each other."""
    labels = [Box(119.0, 19.0, *line.label) for line in placed(graph).lines]
    assert not any(overlap(first, second) for first, second in combinations(labels, 2))
