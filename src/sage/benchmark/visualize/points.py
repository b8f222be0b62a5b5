"""Runs at different loads, as points of a curve."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sage.benchmark.summary import ClassSummary
from sage.benchmark.visualize.recorded import Recorded

# What may differ along one curve.
_VARIED = ("rate", "seed", "rounds", "policies", "requests", "duration_s")


@dataclass(frozen=True, slots=True)
class Point:
    """One run at one load.

    Attributes:
        series: the curve it lies on: a policy, with its file where files differ in more than rate.
        rate: requests per second asked for.
        classes: its figures, the last of all classes together.
    """

    series: str
    rate: float
    classes: Sequence[ClassSummary]

    def figures(self, cls: str) -> ClassSummary | None:
        """The figures of a class, None when the run had no such requests."""
        return next((item for item in self.classes if item.name == cls), None)


def points_of(results: Sequence[Recorded]) -> list[Point]:
    """Return every complete run that had a rate, by series and rate.

    Files that differ in nothing but rate, seed, rounds, policies and how long they ran lie on the
    same curves; where others do too, a curve is named with the first of its files.
    """
    rated = [result for result in results if result.rate is not None]
    stems: dict[str, str] = {}
    for result in rated:
        stems.setdefault(_setting(result), PurePath(result.name).stem)
    points = []
    for result in rated:
        label = f" ({stems[_setting(result)]})" if len(stems) > 1 else ""
        points += [
            Point(run.policy + label, result.rate or 0.0, run.summary.classes)
            for run in result.runs
            if run.complete and run.summary.counts.judged
        ]
    return sorted(points, key=lambda point: (point.series, point.rate))


def _setting(result: Recorded) -> str:
    config = result.about["config"]
    kept = {key: value for key, value in config.items() if key not in _VARIED}
    return json.dumps([kept, result.about.get("target")], sort_keys=True)


def classes_of(points: Iterable[Point]) -> list[str]:
    """Return the names of the classes, each once, those of the first point first."""
    return list(dict.fromkeys(item.name for point in points for item in point.classes))


def by_series(points: Iterable[Point]) -> dict[str, dict[float, list[Point]]]:
    """Return the points of each series at each rate, rates rising."""
    grouped: dict[str, dict[float, list[Point]]] = {}
    for point in points:
        grouped.setdefault(point.series, {}).setdefault(point.rate, []).append(point)
    return {series: dict(sorted(rates.items())) for series, rates in grouped.items()}
