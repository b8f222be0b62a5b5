"""What the runs of a sweep amount to."""

from __future__ import annotations

import pytest

from sage.benchmark.sweep.outcome import Outcome, Point, interval, knees_of, levels_of
from sage.benchmark.sweep.tables import (
    DEFAULT_COLUMNS,
    knee_lines,
    level_rows,
)

from .figures import figures


def _points(knees: dict[str, list[float]], values: tuple[float, ...]) -> list[Point]:
    return [
        Point(policy, value, seed, True, figures(1.0 if value <= knee else 0.4))
        for policy, by_seed in knees.items()
        for seed, knee in enumerate(by_seed)
        for value in values
    ]


def _outcome(points: list[Point]) -> Outcome:
    knees = knees_of(points, 0.9)
    return Outcome("rate", "requests/s", 0.9, True, True, tuple(points), levels_of(points), knees)


def test_knees_are_compared_seed_by_seed() -> None:
    """A policy that is one step ahead on every seed is ahead, though the seeds differ more."""
    knees = {"fifo": [10.0, 30.0, 50.0], "good": [20.0, 40.0, 60.0]}
    first, second = knees_of(_points(knees, (10, 20, 30, 40, 50, 60, 70)), 0.9)
    assert first.knee is not None
    assert first.knee.mean == 30
    assert first.knee.low == pytest.approx(30 - 4.303 * 20 / 3**0.5)
    assert (first.verdict, first.difference) == ("", None)
    assert second.difference is not None
    assert second.difference.mean == 10
    assert second.verdict == "higher"


def test_one_seed_has_no_interval_and_shows_no_difference() -> None:
    """Ends that are not known are None."""
    _, second = knees_of(_points({"fifo": [10.0], "good": [20.0]}, (10, 20, 30)), 0.9)
    assert second.difference == interval([10.0])
    assert second.difference.low is None
    assert second.verdict == "no difference shown"


def test_a_target_that_was_never_kept_or_never_lost_is_said() -> None:
    """Neither is made into a knee."""
    outcome = _outcome(_points({"bad": [0.0, 10.0], "best": [30.0, 30.0]}, (10, 20, 30)))
    bad, best = outcome.knees
    assert (bad.knee, bad.at_least) == (None, False)
    assert best.at_least
    assert list(knee_lines(outcome)) == [
        "bad: 90% in SLO is not reached at 10 requests/s (seed 0)",
        "best: 90% in SLO up to at least 30 [30 … 30] requests/s",
    ]


def test_levels_are_means_over_the_seeds() -> None:
    """A figure that no run has is left out; one that some lack is the mean of the others."""
    points = [
        Point("fifo", 10, 0, True, figures(0.8, ttft_ms=5.0)),
        Point("fifo", 10, 1, True, figures(1.0, ttft_ms=None)),
    ]
    (level,) = levels_of(points)
    figure = level.classes["all"]
    assert level.runs == 2
    assert figure["attainment"].mean == pytest.approx(0.9)
    assert figure["ttft_p50_ms"].mean == 5
    assert "tpot_p50_ms" not in figure


def test_rows_are_means_with_half_of_their_interval() -> None:
    """A single class stands for all of them together; a terminal has the means alone."""
    outcome = _outcome(_points({"fifo": [10.0, 10.0]}, (10, 20)))
    rows = list(level_rows(outcome, DEFAULT_COLUMNS))
    assert [row[:6] for row in rows] == [
        ["fifo", "10", "chat", "2", "100.0 ± 0.0", "100.0 ± 0.0"],
        ["fifo", "20", "chat", "2", "40.0 ± 0.0", "40.0 ± 0.0"],
    ]
    (first, _) = level_rows(outcome, DEFAULT_COLUMNS, spans=False)
    assert first[:5] == ["fifo", "10", "chat", "2", "100.0"]
    assert list(knee_lines(outcome)) == ["fifo: 90% in SLO up to 10 [10 … 10] requests/s"]
