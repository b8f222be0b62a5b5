"""A profile fitted to probes is that of the embedding engine that was probed."""

from __future__ import annotations

from typing import Any

import pytest

from sage.benchmark.calibrate.embedding import call_errors, fit_embedding, play
from sage.benchmark.calibrate.embedding_probes import Call, CallTake, embedding_probes
from sage.benchmark.simulate.profile import EmbeddingProfile


def takes_of(profile: EmbeddingProfile) -> list[CallTake]:
    """Return what an engine with this profile answers to all probes."""
    return [
        CallTake(kind, label, calls, play(profile, calls))
        for kind, label, calls in embedding_probes(256)
    ]


@pytest.mark.parametrize(
    ("workers", "max_tokens", "by_length"), [(1, 512, True), (2, 2048, True), (1, 8192, False)]
)
def test_an_engine_of_known_costs_is_found_again(
    workers: int, max_tokens: int, by_length: bool
) -> None:
    """What a call and a padded token cost, and how the engine puts batches together."""
    limits: dict[str, Any] = {
        "workers": workers,
        "max_tokens": max_tokens,
        "by_length": by_length,
    }
    true = EmbeddingProfile(name="e", call_ms=3.0, token_ms=0.2, h_in=1.0, h_out=1.0, **limits)
    found = fit_embedding(takes_of(true), {})
    assert found.profile.call_ms == pytest.approx(3.0, rel=0.01)
    assert found.profile.token_ms == pytest.approx(0.2, rel=0.01)
    assert found.profile.h_in + found.profile.h_out == pytest.approx(2.0, rel=0.01)
    assert {name: getattr(found.profile, name) for name in limits} == limits
    assert len(found.errors) == 3
    assert max(abs(error.worst) for error in found.errors) < 0.01


def test_what_is_given_is_kept() -> None:
    """And is not among what was chosen; the errors say what it costs when it is wrong."""
    true = EmbeddingProfile(name="e", call_ms=3.0, token_ms=0.2, workers=2)
    found = fit_embedding(takes_of(true), {"workers": 1, "max_texts": 32})
    assert (found.profile.workers, found.profile.max_texts) == (1, 32)
    assert "workers" not in found.chosen
    assert max(abs(error.worst) for error in found.errors) > 0.1


def test_errors_are_above_zero_where_the_model_is_slower() -> None:
    """By as much as it is."""
    true = EmbeddingProfile(name="e", call_ms=0.0, token_ms=0.2)
    slower = EmbeddingProfile(name="e", call_ms=0.0, token_ms=0.3)
    take = CallTake("call", "1 x 8", [Call(1, 8)], play(true, [Call(1, 8)]))
    (error,) = call_errors(slower, [take])
    assert (error.what, error.probes) == ("time of one text", 1)
    assert error.median == pytest.approx(0.5)
