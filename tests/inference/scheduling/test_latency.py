"""The latency model finds an engine's constants whatever it gets to see."""

from __future__ import annotations

import random

import pytest

from sage.inference.scheduling.latency import LatencyModel

# One H100 with a 7B model, as measured: ms, ms per prompt token, ms per step, ms per request.
C, P, A, B = 0.0055, 2.0e-5, 0.00608, 8.8e-6


def observe(model: LatencyModel, seed: int, n: int, *, streamed: bool, slow: float = 1.0) -> None:
    rng = random.Random(seed)
    for i in range(n):
        now = model.updated + 0.1 if model.observations else 0.0
        tokens, out, batch = rng.randint(50, 8000), rng.randint(2, 400), rng.randint(1, 128)
        first = (C + P * tokens) * slow * rng.uniform(0.9, 1.1)
        rest = (A + B * batch) * out * slow * rng.uniform(0.95, 1.05)
        if i % 29 == 0:
            first *= 20
        if streamed:
            model.first_token(tokens, first, now)
            model.decoded(out, batch, rest, now)
        else:
            model.whole(tokens, out, batch, first + rest, now)


@pytest.mark.parametrize("seed", range(5))
def test_streams_teach_prefill_and_decode(seed: int) -> None:
    """From noisy streams with outliers, predictions come within 15% over the whole range."""
    model = LatencyModel()
    observe(model, seed, 300, streamed=True)
    for tokens in (500, 2000, 8000):
        assert model.ttft(tokens) == pytest.approx(C + P * tokens, rel=0.2)
    for batch in (1, 32, 128):
        assert model.step(batch) == pytest.approx(A + B * batch, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_whole_answers_teach_both_at_once(seed: int) -> None:
    """Where nothing is streamed, the sum of both parts is predicted within 15%."""
    model = LatencyModel()
    observe(model, seed, 400, streamed=False)
    for tokens, out, batch in ((500, 100, 8), (8000, 20, 64), (2000, 300, 100)):
        predicted = model.ttft(tokens) + out * model.step(batch)
        assert predicted == pytest.approx(C + P * tokens + out * (A + B * batch), rel=0.15)


def test_change_of_speed_is_followed() -> None:
    """An engine that has become three times slower is known as such after 300 streams."""
    model = LatencyModel()
    observe(model, 1, 300, streamed=True)
    observe(model, 2, 300, streamed=True, slow=3.0)
    assert model.ttft(4000) == pytest.approx(3 * (C + P * 4000), rel=0.25)


def test_nothing_is_claimed_before_it_is_known() -> None:
    """A fresh model is not ready; after a few observations it is."""
    model = LatencyModel()
    assert not model.ready
    observe(model, 1, 8, streamed=False)
    assert model.ready


def test_terms_stay_at_or_above_zero() -> None:
    """Instant answers do not make later ones take negative time."""
    model = LatencyModel()
    for n in range(200):
        model.whole(10 * n, n % 7, 1.0, 0.0, float(n))
    assert min(model._fit.theta) >= 0.0
    assert model.ttft(10_000) >= 0.0


def test_margin_is_the_measured_p95_of_the_error() -> None:
    """When one in ten first tokens takes twice as long as predicted, the margin says so."""
    model = LatencyModel()
    for n in range(800):
        model.first_token(1000, 0.2 if n % 10 == 0 else 0.1, n * 0.1)
    assert 1.5 < model.margin < 2.5


def test_crowded_observations_are_thinned() -> None:
    """Beyond the warm-up, at most one observation each 20 ms is learned from."""
    model = LatencyModel()
    for n in range(1064):
        model.first_token(100, 0.01, n * 1e-4)
    assert model.observations < 64 + 7
