"""Where the boxes of a drawing stand and its lines run: columns by depth, lines in between.

A line over several columns passes each of them in a lane of its own, between the boxes, so that
none runs through a box. Lines that close a loop run back below everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

GAP = 100.0
MARGIN = 24.0
SPACING = 28.0
LANE = 18.0


@dataclass(slots=True)
class Box:
    """A place in a column: a stage, or where a long line passes.

    Attributes:
        width: in pixels, as all lengths here; 0 of a line.
        height: likewise.
        x: left.
        y: top.
    """

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0

    @property
    def middle(self) -> float:
        """Its height's middle."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two boxes.

    Attributes:
        points: where it leaves the first, passes each column on its way, twice, and ends.
        label: where the middle of its label lies.
        back: whether it runs back, below everything.
    """

    points: tuple[Point, ...]
    label: Point
    back: bool


@dataclass(slots=True)
class Layout:
    """A drawing's geometry.

    Attributes:
        boxes: in the order given.
        lines: in the order given.
        width: of the whole.
        height: of the whole.
    """

    boxes: list[Box]
    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def lay_out(
    sizes: Sequence[tuple[float, float]],
    links: Sequence[tuple[int, int]],
    back: Sequence[bool],
    label_widths: Sequence[float],
) -> Layout:
    """Place boxes and lines.

    Args:
        sizes: width and height of each box.
        links: for each line, the numbers of the boxes that it leaves and reaches.
        back: for each line, whether it closes a loop; without these there is none.
        label_widths: of each line.
    """
    forward = [number for number, closes in enumerate(back) if not closes]
    depths = _depths(len(sizes), [links[number] for number in forward])
    boxes = [Box(*size) for size in sizes]
    columns: list[list[Box]] = [[] for _ in range(max(depths) + 1)]
    for box, depth in zip(boxes, depths, strict=True):
        columns[depth].append(box)
    routes: dict[int, list[Box]] = {}
    for number in forward:
        source, target = links[number]
        passing = [Box(0.0, LANE) for _ in range(depths[source] + 1, depths[target])]
        for depth, lane in enumerate(passing, depths[source] + 1):
            columns[depth].append(lane)
        routes[number] = [boxes[source], *passing, boxes[target]]
    _order(columns, list(routes.values()))
    gaps = _gaps(columns, routes, links, depths, label_widths)
    _place(columns, gaps, MARGIN + sum(back) * LANE / 2)
    layout = Layout(boxes)
    bottom = max(box.y + box.height for column in columns for box in column)
    ports = _ports(routes)
    lanes = 0
    for number in range(len(links)):
        if number in routes:
            route = routes[number]
            leave = sum(other[0] is route[0] for other in routes.values())
            reach = sum(other[-1] is route[-1] for other in routes.values())
            layout.lines.append(_forward(route, ports[number], leave - reach))
        else:
            lanes += 1
            first, last = (boxes[end] for end in links[number])
            layout.lines.append(_backward(first, last, bottom + lanes * 1.5 * LANE, lanes))
    _spread_labels(layout.lines, label_widths)
    layout.width = max(box.x + box.width for box in boxes) + MARGIN + lanes * LANE
    lowest = max((line.label[1] for line in layout.lines), default=0.0)
    layout.height = max(bottom + lanes * 1.5 * LANE, lowest) + MARGIN
    return layout


def _depths(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """Return the longest way to each box."""
    depths = [0] * count
    changed = True
    while changed:
        changed = False
        for source, target in links:
            if depths[target] <= depths[source]:
                depths[target] = depths[source] + 1
                changed = True
    return depths


def _order(columns: list[list[Box]], routes: list[list[Box]]) -> None:
    """Sort each column by where its lines come from, and then by where they go."""
    before: dict[int, list[Box]] = {}
    after: dict[int, list[Box]] = {}
    for route in routes:
        for first, second in pairwise(route):
            after.setdefault(id(first), []).append(second)
            before.setdefault(id(second), []).append(first)
    for _ in range(4):
        for neighbours, sweep in ((before, columns), (after, columns[::-1])):
            ranks: dict[int, float] = {}
            for column in sweep:
                _sort(column, neighbours, ranks)


def _sort(column: list[Box], neighbours: Mapping[int, list[Box]], ranks: dict[int, float]) -> None:
    own = {id(box): float(place) for place, box in enumerate(column)}

    def rank(box: Box) -> float:
        known = [ranks[id(other)] for other in neighbours.get(id(box), ())]
        return sum(known) / len(known) if known else own[id(box)]

    column.sort(key=rank)
    ranks.update({id(box): float(place) for place, box in enumerate(column)})


def _gaps(
    columns: list[list[Box]],
    routes: Mapping[int, list[Box]],
    links: Sequence[tuple[int, int]],
    depths: Sequence[int],
    label_widths: Sequence[float],
) -> list[float]:
    """Return the width of the gap behind each column: the labels in it fit."""
    gaps = [GAP] * len(columns)
    for number in routes:
        depth = depths[links[number][0]]
        gaps[depth] = max(gaps[depth], label_widths[number] + GAP)
    return gaps


def _place(columns: list[list[Box]], gaps: Sequence[float], x: float) -> None:
    """Give every box its place, the first at ``x``, the columns centred on one line."""
    heights = [
        sum(box.height for box in column) + SPACING * (len(column) - 1) for column in columns
    ]
    tallest = max(heights)
    for column, height, gap in zip(columns, heights, gaps, strict=True):
        width = max(box.width for box in column)
        y = MARGIN + (tallest - height) / 2
        for box in column:
            box.x, box.y = x + (width - box.width) / 2, y
            # A line that passes does so over the whole column.
            if box.width == 0:
                box.x, box.width = x, width
            y += box.height + SPACING
        x += width + gap


def _ports(routes: Mapping[int, list[Box]]) -> dict[int, tuple[float, float]]:
    """Return at what heights each line leaves and reaches its boxes, evenly over their sides."""

    def heights(
        end: Callable[[list[Box]], Box], other: Callable[[list[Box]], Box]
    ) -> dict[int, float]:
        groups: dict[int, list[int]] = {}
        for number, route in routes.items():
            groups.setdefault(id(end(route)), []).append(number)
        found: dict[int, float] = {}
        for group in groups.values():
            group.sort(key=lambda number: other(routes[number]).middle)
            box = end(routes[group[0]])
            for place, number in enumerate(group, 1):
                found[number] = box.y + box.height * place / (len(group) + 1)
        return found

    leaving = heights(lambda route: route[0], lambda route: route[1])
    reaching = heights(lambda route: route[-1], lambda route: route[-2])
    return {number: (leaving[number], reaching[number]) for number in routes}


def _forward(route: list[Box], ports: tuple[float, float], fan: int) -> Line:
    source, target = route[0], route[-1]
    points: list[Point] = [(source.x + source.width, ports[0])]
    for lane in route[1:-1]:
        points += [(lane.x, lane.middle), (lane.x + lane.width, lane.middle)]
    points.append((target.x, ports[1]))
    (x1, y1), (x2, y2) = points[0], points[1]
    # Lines that leave one box are apart where they end, those that reach one where they begin.
    across, down = (0.62, 0.71) if fan > 0 else (0.38, 0.29) if fan else (0.5, 0.5)
    return Line(tuple(points), (x1 + across * (x2 - x1), y1 + down * (y2 - y1)), back=False)


def _backward(source: Box, target: Box, y: float, number: int) -> Line:
    right, left = source.x + source.width, target.x
    # Beside the boxes, a little further out for each, and not where other lines meet them.
    out, back = right + number * LANE / 2, left - number * LANE / 2
    begin = source.y + source.height - 8
    end = target.y + target.height - 8
    points = ((right, begin), (out, begin), (out, y), (back, y), (back, end), (left, end))
    return Line(points, ((out + back) / 2, y), back=True)


def _spread_labels(lines: list[Line], widths: Sequence[float], height: float = 20.0) -> None:
    """Move labels that lie over each other apart, downwards."""
    placed: list[tuple[float, float, float]] = []
    for number in sorted(range(len(lines)), key=lambda number: lines[number].label[1]):
        line = lines[number]
        x, y = line.label
        for other_x, other_y, width in placed:
            beside = abs(other_x - x) >= (width + widths[number]) / 2
            if not beside and abs(other_y - y) < height:
                y = other_y + height
        placed.append((x, y, widths[number]))
        lines[number] = Line(line.points, (x, y), line.back)
