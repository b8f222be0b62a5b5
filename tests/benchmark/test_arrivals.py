"""Arrival patterns have the rate and shape they are asked for."""

from __future__ import annotations

import random
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.arrivals import ArrivalPattern, Arrivals
from sage.errors import ConfigError

_OPEN = [pattern for pattern in ArrivalPattern if pattern is not ArrivalPattern.CLOSED]


def _times(count: int, seed: int = 1, **options: object) -> list[float]:
    arrivals = Arrivals(**options)  # type: ignore[arg-type]
    return list(islice(arrivals.times(random.Random(seed)), count))


def _gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


@given(st.sampled_from(_OPEN), st.floats(0.1, 1e4), st.floats(0.1, 5), st.integers(0, 2**32))
def test_times_never_go_back_and_are_those_of_the_seed(
    pattern: ArrivalPattern, rate: float, cv: float, seed: int
) -> None:
    """Whatever the pattern: same seed, same times, rising from 0; more of them begin the same."""
    times = _times(50, seed, pattern=pattern, rate=rate, cv=cv)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times == _times(90, seed, pattern=pattern, rate=rate, cv=cv)[:50]


@pytest.mark.parametrize("pattern", [p for p in _OPEN if p is not ArrivalPattern.RAMP])
def test_the_mean_rate_is_the_one_asked_for(pattern: ArrivalPattern) -> None:
    """20,000 requests at 50/s take 400 s."""
    assert _times(20_000, pattern=pattern, rate=50)[-1] == pytest.approx(400, rel=0.05)


@pytest.mark.parametrize(
    ("options", "cv"),
    [
        ({"pattern": ArrivalPattern.CONSTANT}, 0),
        ({"pattern": ArrivalPattern.POISSON}, 1),
        ({"pattern": ArrivalPattern.GAMMA, "cv": 2.5}, 2.5),
        ({"pattern": ArrivalPattern.GAMMA, "cv": 0.4}, 0.4),
    ],
)
def test_the_gaps_vary_as_asked(options: dict[str, object], cv: float) -> None:
    """The coefficient of variation of the gaps is the pattern's."""
    gaps = _gaps(_times(20_000, rate=10, **options))
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_bursts_leave_together() -> None:
    """Each group of burst_size has one moment."""
    times = _times(60, pattern=ArrivalPattern.BURST, burst_size=6)
    assert all(len(set(times[i : i + 6])) == 1 for i in range(0, 60, 6))
    assert len(set(times)) == 10


def test_a_ramp_grows_linearly_and_then_holds() -> None:
    """From 2/s to 20/s in 100 s: a fifth of the way 2/s·20 + 0.18·20²/2 requests, then 20/s."""
    options = {"pattern": ArrivalPattern.RAMP, "rate": 20, "ramp_from": 2, "ramp_s": 100}
    counts = []
    for seed in range(20):
        times = _times(2500, seed, **options)
        counts.append(
            [
                sum(t < 20 for t in times),
                sum(t < 100 for t in times),
                sum(100 <= t < 120 for t in times),
            ]
        )
    means = [fmean(column) for column in zip(*counts, strict=True)]
    assert means == pytest.approx([76, 1100, 400], rel=0.06)


def test_what_no_process_can_have_is_refused() -> None:
    """Rates and factors are positive numbers; a closed loop has no times."""
    for options in ({"rate": 0}, {"rate": float("nan")}, {"cv": -1}, {"burst_size": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Arrivals(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="users"):
        Arrivals(ArrivalPattern.CLOSED).times(random.Random(0))
