"""Runs at different loads, as points of curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sage.benchmark.sweep.axis import AXES
from sage.benchmark.sweep.outcome import Figures, PolicyKnee, figures_of
from sage.benchmark.sweep.tables import policy_name
from sage.benchmark.visualize.recorded import Recorded

RATE = "rate"
_DEFAULT_TARGET = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """One run at one value of an axis.

    Attributes:
        series: the curve it lies on: a policy, with its file where files differ in their workload.
        value: on the axis.
        seed: of its requests.
        classes: its figures by class.
    """

    series: str
    value: float
    seed: int
    classes: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Curves:
    """All runs over one axis.

    Attributes:
        axis: what varied, such as ``rate``.
        unit: of its values.
        target: the attainment that knees keep, as a share.
        points: by series, then by rising value.
        knees: by series, where a sweep looked for one.
    """

    axis: str
    unit: str
    target: float
    points: Sequence[Point]
    knees: Mapping[str, PolicyKnee]

    def by_series(self) -> dict[str, dict[float, list[Point]]]:
        """Return the points of each series at each value, values rising."""
        grouped: dict[str, dict[float, list[Point]]] = {}
        for point in self.points:
            grouped.setdefault(point.series, {}).setdefault(point.value, []).append(point)
        return grouped

    def paths(self) -> dict[str, list[dict[float, list[Point]]]]:
        """Return the lines to draw of each series, each of them points by rising value.

        One line where all seeds were tried at each value. A search tries other values with each
        seed; then there is a line for each, since neighbours of other seeds are no neighbours.
        """
        found = {}
        for series, levels in self.by_series().items():
            seeds = {value: {point.seed for point in points} for value, points in levels.items()}
            every = set().union(*seeds.values())
            if all(tried == every for tried in seeds.values()):
                found[series] = [levels]
            else:
                found[series] = [_of_seed(levels, seed) for seed in sorted(every)]
        return found

    def classes(self) -> list[str]:
        """Return the names of the classes, each once, those of the first point first."""
        return list(dict.fromkeys(name for point in self.points for name in point.classes))


def _of_seed(levels: Mapping[float, Sequence[Point]], seed: int) -> dict[float, list[Point]]:
    found = {value: [one for one in points if one.seed == seed] for value, points in levels.items()}
    return {value: points for value, points in found.items() if points}


def curves_of(results: Sequence[Recorded]) -> list[Curves]:
    """Return the curves over each axis that has two values at least.

    Files that differ in nothing but the axis, seed, rounds, policies and how many requests they
    issued lie on the same curves; where others do too, each curve is named with the first of its
    files.
    """
    axes = dict.fromkeys(axis for result in results if (axis := axis_of(result)) is not None)
    found = [_curves(axis, [one for one in results if axis_of(one) == axis]) for axis in axes]
    return [one for one in found if len({point.value for point in one.points}) > 1]


def axis_of(result: Recorded) -> str | None:
    """Return what a file's runs lie along; None for a closed loop or a trace by itself."""
    if result.sweep is not None:
        return result.sweep.axis
    return None if result.rate is None else RATE


def _curves(axis: str, results: Sequence[Recorded]) -> Curves:
    stems: dict[str, str] = {}
    for result in results:
        stems.setdefault(_setting(result, axis), PurePath(result.name).stem)
    points: list[Point] = []
    knees: dict[str, PolicyKnee] = {}
    target = _DEFAULT_TARGET
    for result in results:
        label = f" ({stems[_setting(result, axis)]})" if len(stems) > 1 else ""
        points += _points(result, label)
        if result.sweep is not None:
            target = result.sweep.target
            knees |= {policy_name(knee.policy) + label: knee for knee in result.sweep.knees}
    series = list(dict.fromkeys(point.series for point in points))
    points.sort(key=lambda point: (series.index(point.series), point.value))
    return Curves(axis, AXES[axis].unit if axis in AXES else "", target, points, knees)


def _points(result: Recorded, label: str) -> Iterator[Point]:
    if result.sweep is not None:
        for one in result.sweep.points:
            yield Point(policy_name(one.policy) + label, one.value, one.seed, one.classes)
        return
    for run in result.runs:
        if run.complete and run.summary.counts.judged:
            classes = {summary.name: figures_of(summary) for summary in run.summary.classes}
            yield Point(run.policy + label, result.rate or 0.0, run.seed, classes)


def _setting(result: Recorded, axis: str) -> str:
    varied = {axis, "seed", "rounds", "policies", "requests"}
    config: Mapping[str, object] = result.about["config"]
    kept = {key: value for key, value in config.items() if key not in varied}
    return json.dumps([kept, result.about.get("target")], sort_keys=True)


def values_of(points: Iterable[Point], cls: str, name: str) -> list[float]:
    """Return one figure of a class in each of the points that has it."""
    figures = [point.classes[cls] for point in points if cls in point.classes]
    return [float(found) for one in figures if (found := getattr(one, name)) is not None]
