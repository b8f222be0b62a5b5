"""Token estimates converge on what engines report."""

from __future__ import annotations

from sage.inference.scheduling.estimators import TokenEstimator


def test_prompt_guesses_are_corrected_by_model() -> None:
    """A model whose prompts have half the tokens guessed is corrected; others are not."""
    estimator = TokenEstimator()
    assert estimator.prompt("m", 100) == 100
    for _ in range(20):
        estimator.learn("m", "", 1000, 500, 10)
    assert estimator.prompt("m", 100) == 50
    assert estimator.prompt("n", 100) == 100
    assert estimator.prompt("m", 1) == 1
    assert estimator.prompt("m", 0) == 0


def test_outputs_are_expected_from_the_nearest_that_is_known() -> None:
    """Prompt size, then tenant, then model, then a default; never above the request's own cap."""
    estimator = TokenEstimator()
    assert estimator.output("m", "t", 100) == 128
    estimator.learn("m", "t", 100, 100, 40)
    estimator.learn("m", "u", 100, 100, 400)
    assert estimator.output("m", "t", 100) == 40
    assert estimator.output("m", "t", 9000) == 40
    assert estimator.output("m", "v", 100) == 58
    assert estimator.output("m", "u", 100, most=16) == 16


def test_what_is_kept_is_bounded() -> None:
    """Tenants without number do not grow it past its limit."""
    estimator = TokenEstimator()
    for n in range(10_000):
        estimator.learn("m", f"t{n}", 10, 10, 5)
    assert len(estimator._outputs) <= 4096
    assert estimator.output("m", "new", 10) == 5
