"""Which differences between policies are real, from rounds written down by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.comparison import Row, compare_runs
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.exchange import Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.run import Run
from sage.benchmark.statistics import paired_difference
from sage.benchmark.summary import summarise
from sage.benchmark.verdict import Verdict
from tests.benchmark.exchanges import exchange

_FINE = Verdict(True, "", 0.0, 0.0, 0.1, 10.0, 10.0)
_LATE = replace(_FINE, valid=False, reason="the client was the bottleneck")


def _run(policy: str, number: int, good: Mapping[str, int], verdict: Verdict = _FINE) -> Run:
    """A hundred requests of each class, of which so many are good."""
    exchanges = []
    for cls, count in good.items():
        for index in range(100):
            one = exchange(index, index / 10, e2e=0.2)
            one.request.cls = cls
            if index >= count:
                one.fail(Failure.REJECTED, "status 429", one.ended)
            exchanges.append(one)
    load = LoadResult(exchanges, 0, 0.0, 0.1, 10.0, [])
    return Run(policy, 0, number, summarise(load, LLMBenchmarkConfig()), verdict, load)


def _rows(rounds: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, Row]:
    runs = [
        _run(who, n, good) for n, one in enumerate(rounds, start=1) for who, good in one.items()
    ]
    found = compare_runs(runs, ("fifo", "hybrid_slo"))
    of_attainment = (row for row in found.rows if row.metric == "SLO attainment, %")
    return {row.cls: row for row in of_attainment if row.policy == "hybrid_slo"}


def test_a_difference_that_every_round_shows_is_real() -> None:
    """It needs no more rounds."""
    rounds = [{"fifo": {"chat": n}, "hybrid_slo": {"chat": n + 20}} for n in (50, 60, 70)]
    found = _rows(rounds)["all"]
    assert (found.verdict, found.more_rounds) == ("better", 0)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(20)


def test_a_difference_lost_in_noise_says_how_many_rounds_would_show_it() -> None:
    """Differences 0, 10, 20: mean 10 and deviation 10 are shown by 7 rounds (t: 2.447)."""
    rounds = [{"fifo": {"chat": 50}, "hybrid_slo": {"chat": n}} for n in (50, 60, 70)]
    found = _rows(rounds)["all"]
    assert (found.verdict, found.more_rounds) == ("no difference shown", 4)


def test_no_number_of_rounds_shows_what_is_not_there() -> None:
    """Equal figures are not a difference that is too small to be seen."""
    rounds = [{"fifo": {"chat": 50}, "hybrid_slo": {"chat": 50}}] * 3
    found = _rows(rounds)["all"]
    assert (found.verdict, found.more_rounds) == ("no difference shown", None)


def test_classes_are_compared_one_by_one() -> None:
    """What one class wins and another loses is nothing together."""
    rounds = [
        {
            "fifo": {"interactive": n, "bulk": n},
            "hybrid_slo": {"interactive": n + 10, "bulk": n - 10},
        }
        for n in (40, 50, 60)
    ]
    found = _rows(rounds)
    verdicts = {name: row.verdict for name, row in found.items()}
    assert verdicts == {
        "all": "no difference shown",
        "interactive": "better",
        "bulk": "worse",
    }


def test_nothing_is_concluded_from_a_client_that_was_the_bottleneck() -> None:
    """The figures are shown all the same."""
    runs = [
        _run(who, n, {"chat": good}, _LATE if n == 2 else _FINE)
        for n in (1, 2, 3)
        for who, good in (("fifo", 50), ("hybrid_slo", 90))
    ]
    found = compare_runs(runs, ("fifo", "hybrid_slo"))
    assert not found.valid
    assert {row.verdict for row in found.rows if row.difference} == {"not concluded"}


def test_a_round_that_was_broken_off_counts_for_no_policy() -> None:
    """Its partner run is left out with it."""
    runs = [_run(who, n, {"chat": 50}) for n in (1, 2) for who in ("fifo", "hybrid_slo")]
    found = compare_runs(runs[:3], ("fifo", "hybrid_slo"))
    assert found.rounds == 1
    one = found.rows[1].difference
    assert one is not None
    assert (one.high, found.rows[1].more_rounds) == (math.inf, None)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_a_difference_is_real_when_it_has_the_rounds_it_needs(found: list[float]) -> None:
    """The two statements never contradict each other."""
    difference = paired_difference([0.0] * len(found), found)
    needed = difference.rounds_needed
    assert difference.real == (needed is not None and needed <= len(found))
