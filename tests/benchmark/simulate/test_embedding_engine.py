"""Embedding engines: padding costs, and requests share calls as at the gateway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage.benchmark.simulate.embedding_engine import EmbeddingEngine
from sage.benchmark.simulate.engine_request import Emission, EngineRequest
from sage.benchmark.simulate.profile import EmbeddingProfile
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

from .support import drive

PROFILE = EmbeddingProfile(name="test", call_ms=2.0, token_ms=0.1, max_tokens=512, max_texts=64)
SPEC = InstanceSpec("e", Kind.EMBEDDING, ("embedding",))


def _ends(emissions: list[Emission]) -> dict[int, float]:
    return {r.id: e.at for e in emissions for r in e.ended}


def test_a_text_alone_takes_a_call_and_its_tokens() -> None:
    """And the way there and back."""
    one = EmbeddingEngine(PROFILE, SPEC, lag=0.001)
    ends = _ends(drive(one, [(0.0, EngineRequest(1, 100, 0))]))
    assert ends[1] == pytest.approx(0.001 + (2.0 + 0.1 * 100) / 1000 + 0.001)


@pytest.mark.parametrize("by_length", [True, False])
def test_padding_is_paid_for(by_length: bool) -> None:
    """Long and short texts in turn: in order of arrival each batch is padded to a long one."""
    one = EmbeddingEngine(replace(PROFILE, by_length=by_length), replace(SPEC, coalesce=False))
    lengths = [200 if n % 2 else 10 for n in range(40)]
    arrivals = [(0.0, EngineRequest(n, length, 0)) for n, length in enumerate(lengths)]
    # All come while a first text keeps the worker busy.
    ends = _ends(drive(one, [(0.0, EngineRequest(-1, 500, 0)), *arrivals]))
    busy = max(ends.values()) - ends[-1]
    least = 0.1 * sum(lengths) / 1000
    assert len(ends) == 41
    assert busy < 1.25 * least if by_length else busy > 1.5 * least


def test_workers_run_at_once() -> None:
    """Two long texts take as long as one where there are two workers."""
    arrivals = [(0.0, EngineRequest(n, 500, 0)) for n in (1, 2)]
    alone = _ends(drive(EmbeddingEngine(PROFILE, SPEC), arrivals))
    both = _ends(drive(EmbeddingEngine(replace(PROFILE, workers=2), SPEC), arrivals))
    assert max(both.values()) == pytest.approx(min(alone.values()))
    assert max(alone.values()) == pytest.approx(2 * min(alone.values()))


def test_requests_that_wait_for_a_call_share_one() -> None:
    """With a single call on the wire at once, twenty small ones need far fewer than twenty."""
    one = EmbeddingEngine(PROFILE, replace(SPEC, max_calls=1))
    ends = _ends(drive(one, [(0.0, EngineRequest(n, 10, 0)) for n in range(20)]))
    assert len(ends) == 20
    assert len(set(ends.values())) == 2


def test_a_large_request_is_cut_and_ends_with_its_last_piece() -> None:
    """200 texts of 100 tokens are more than a call may carry."""
    one = EmbeddingEngine(PROFILE, SPEC)
    ends = _ends(drive(one, [(0.0, EngineRequest(1, 100, 0, texts=200))]))
    assert ends[1] >= 0.1 * 200 * 100 / 1000


def test_a_cancelled_request_is_not_answered() -> None:
    """Whether it waits for a call or is on the wire; the others are."""
    one = EmbeddingEngine(PROFILE, replace(SPEC, max_calls=1))
    requests = [EngineRequest(n, 100, 0) for n in range(4)]
    arrivals = [(0.0, r) for r in requests]
    ends = _ends(drive(one, arrivals, [(0.001, requests[0]), (0.001, requests[2])]))
    assert sorted(ends) == [1, 3]
