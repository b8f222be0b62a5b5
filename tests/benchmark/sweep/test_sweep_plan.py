"""Which runs a sweep makes, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.benchmark.sweep.axis import AXES
from sage.benchmark.sweep.plan import Sweep, SweepPlan, Turn
from sage.errors import ConfigError

from .figures import figures


def _run(sweep: Sweep, knees: dict[str | None, float]) -> list[Turn]:
    turns = []
    while (turn := sweep.next()) is not None:
        assert sweep.next() == turn
        turns.append(turn)
        attainment = 1.0 if turn.value <= knees[turn.policy] else 0.5
        sweep.tell(figures(attainment), policy=turn.policy, valid=True)
    return turns


def test_policies_take_turns_at_each_value() -> None:
    """A B, A B within a seed, and the next seed begins with the other policy."""
    sweep = Sweep(SweepPlan(AXES["rate"], ("a", "b"), (7, 8), (2.0, 1.0)))
    assert sweep.expected() == 8
    turns = _run(sweep, {"a": 1, "b": 2})
    assert [(t.policy, t.value, t.seed) for t in turns] == [
        *(("a", 1, 7), ("b", 1, 7), ("a", 2, 7), ("b", 2, 7)),
        *(("b", 1, 8), ("a", 1, 8), ("b", 2, 8), ("a", 2, 8)),
    ]
    outcome = sweep.outcome()
    assert outcome.complete
    assert [(knee.policy, knee.knee.mean) for knee in outcome.knees if knee.knee] == [
        *(("a", 1), ("b", 2))
    ]


@settings(max_examples=30)
@given(
    knees=st.lists(st.floats(0.5, 500), min_size=1, max_size=4),
    seeds=st.integers(1, 3),
    resolution=st.floats(0.02, 0.3),
)
def test_each_policys_knee_is_found(knees: list[float], seeds: int, resolution: float) -> None:
    """However far apart they are; all policies meet the first value on every seed."""
    policies = tuple(f"p{number}" for number in range(len(knees)))
    plan = SweepPlan(AXES["rate"], policies, tuple(range(seeds)), start=3.0, resolution=resolution)
    sweep = Sweep(plan)
    turns = _run(sweep, dict(zip(policies, knees, strict=True)))
    assert sweep.expected() == len(turns) == len(sweep.outcome().points)
    for seed in range(seeds):
        assert {t.policy for t in turns if (t.seed, t.value) == (seed, 3)} == set(policies)
    for found, true in zip(sweep.outcome().knees, knees, strict=True):
        assert len(found.by_seed) == seeds
        assert found.knee is not None
        assert found.knee.mean <= true < found.knee.mean * (1 + resolution) * 1.001


def test_a_sweep_broken_off_has_what_came_before() -> None:
    """It is marked incomplete."""
    sweep = Sweep(SweepPlan(AXES["rate"], (None,), (0,), (1.0, 2.0)))
    sweep.next()
    sweep.tell(figures(0.95), policy="fifo", valid=False)
    outcome = sweep.outcome()
    assert (outcome.complete, outcome.valid) == (False, False)
    assert [(point.policy, point.value) for point in outcome.points] == [("fifo", 1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": 1.5}, "attainment is 1.5"),
        ({"values": ()}, "at least one value"),
        ({"values": (1.0, 1.0)}, "names one twice"),
        ({"values": (float("inf"),)}, "values has inf"),
        ({"axis": AXES["llm_ratio"]}, "llm_ratio has no knee"),
        ({"seeds": ()}, "at least one policy and one seed"),
    ],
)
def test_a_plan_that_cannot_be(wrong: dict[str, object], said: str) -> None:
    """Is refused before anything runs."""
    good: dict[str, object] = {"axis": AXES["rate"], "policies": ("a",), "seeds": (0,)}
    with pytest.raises(ConfigError, match=said):
        SweepPlan(**{**good, **wrong})  # type: ignore[arg-type]
