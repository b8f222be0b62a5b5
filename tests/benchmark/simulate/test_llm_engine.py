"""A batching engine's steps, one rule after the other, and against a plain step-by-step model."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sage.benchmark.simulate.engine_request import Emission, EngineRequest
from sage.benchmark.simulate.llm_engine import LlmEngine
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_plan import StepPlan

from .support import CAPACITY, PROFILE, SPEC, TIMES, drive, engine


def _ends(emissions: list[Emission]) -> dict[int, float]:
    return {r.id: e.at for e in emissions for r in e.ended}


def _firsts(emissions: list[Emission]) -> dict[int, float]:
    return {r.id: e.at for e in emissions for r in e.firsts}


def test_one_request_alone_takes_what_the_formula_says() -> None:
    """In, a step with its prompt, a step for each further token, out."""
    request = EngineRequest(1, 1000, 3)
    emissions = drive(engine(), [(0.0, request)])
    prefill = 6.0 + 0.02 * 1000 + 1e-6 * 1000**2 / 2
    assert _firsts(emissions)[1] == pytest.approx((2.0 + prefill + 1.0) / 1000)
    decode = sum(6.0 + 0.01 + 2e-5 * context for context in (1001, 1002))
    assert _ends(emissions)[1] == pytest.approx((2.0 + prefill + decode + 1.0) / 1000)
    assert request.runs == [(0, 3)]


@pytest.mark.parametrize(
    ("prompt", "milliseconds"),
    [(16, 8.0), (512, 6 + 0.02 * 512 + 1e-6 * 512**2 / 2), (513, 20.0), (768, 21.654912)],
)
def test_the_flat_foot_and_the_floor(prompt: int, milliseconds: float) -> None:
    """A tiny prompt takes b0 + 2; past the recorded sizes a step takes the floor at least."""
    emissions = drive(engine(), [(0.0, EngineRequest(1, prompt, 1))])
    assert _firsts(emissions)[1] == pytest.approx((3.0 + milliseconds) / 1000)


def test_an_arrival_waits_for_a_whole_step_more_where_steps_are_planned_ahead() -> None:
    """It comes while one step runs and the next is planned; without that it waits for one."""
    for ahead, waited in ((True, 2), (False, 1)):
        one = engine(replace(PROFILE, asynchronous=ahead))
        late = EngineRequest(2, 16, 1)
        emissions = drive(one, [(0.0, EngineRequest(1, 16, 50)), (0.0999, late)])
        before = [t for t in one.log.times if t < 0.0999 + 0.002]
        assert late.runs[0][0] == len(before) + waited
        assert _firsts(emissions)[2] > 0.1


def test_a_long_prompt_is_cut_to_the_budget_and_others_decode_along() -> None:
    """5,000 tokens in steps of 2,048 less the one that decodes: three steps, each with a token."""
    one = engine()
    first, long = EngineRequest(1, 16, 40), EngineRequest(2, 5000, 2)
    drive(one, [(0.0, first), (0.05, long)])
    gaps = [b - a for a, b in pairwise(list(one.log.times))]
    assert sum(gap > 0.021 for gap in gaps) == 3
    assert first.runs == [(0, 40)]
    assert max(gaps) < 0.06


def test_tokens_are_handed_out_once_the_next_step_is_launched() -> None:
    """Before a step that is launched kernel by kernel: its gap falls into two, whose sum stays."""
    gaps = {}
    for ahead in (True, False):
        one = engine(replace(PROFILE, asynchronous=ahead))
        drive(one, [(0.0, EngineRequest(1, 16, 40)), (0.05, EngineRequest(2, 2000, 1))])
        moments = list(one.log.times)
        gaps[ahead] = [b - a for a, b in pairwise(moments)]
    step = (6.0 + 0.02 * 2000 + 1e-6 * 2000**2 / 2 + 0.01) / 1000
    assert max(gaps[False]) == pytest.approx(step, abs=1e-5)
    longest = max(gaps[True])
    before = gaps[True][gaps[True].index(longest) - 1]
    assert before == pytest.approx(0.020)
    decode = gaps[True][0]
    assert before + longest == pytest.approx(step + decode, abs=1e-5)


def test_requests_beyond_max_num_seqs_wait() -> None:
    """The third begins only once the first has left."""
    one = engine(max_num_seqs=2)
    requests = [EngineRequest(n, 100, 20 * n) for n in (1, 2, 3)]
    emissions = drive(one, [(0.0, r) for r in requests])
    assert _firsts(emissions)[3] > _ends(emissions)[1]
    assert sorted(_ends(emissions)) == [1, 2, 3]


def test_without_room_in_the_cache_the_last_come_starts_over() -> None:
    """Both fit at first; when both grow, the second is preempted and is served in the end."""
    one = engine(num_gpu_blocks=20)
    first, second = EngineRequest(1, 100, 120), EngineRequest(2, 100, 120)
    emissions = drive(one, [(0.0, first), (0.0, second)])
    assert one.preemptions >= 1
    assert first.runs == [(0, 120)]
    assert len(second.runs) == 2
    assert sum(stop - start for start, stop in second.runs) == 120
    assert [r.id for e in emissions for r in e.firsts] == [1, 2]
    assert one.load() == (0, 0, 0.0)


def test_a_cached_beginning_is_not_computed_again() -> None:
    """The second prompt shares three of four blocks: its time is that of the rest."""
    hashes = (1, 2, 3, 4)
    a, b = EngineRequest(1, 2049, 1, hashes=hashes), EngineRequest(2, 2049, 1, hashes=(1, 2, 3, 9))
    emissions = drive(engine(max_num_batched_tokens=8192), [(0.0, a), (1.0, b)])
    rest, before = 2049 - 1536, 1536
    step = 6.0 + 0.02 * rest + 1e-6 * rest * (before + rest / 2)
    assert _firsts(emissions)[2] - 1.0 == pytest.approx((3.0 + max(step, 20.0)) / 1000)


def test_without_caching_equal_beginnings_take_as_long() -> None:
    """The same prompt twice."""
    hashes = (1, 2, 3, 4)
    pair = [EngineRequest(n, 2049, 1, hashes=hashes) for n in (1, 2)]
    one = engine(replace(PROFILE, prefix_caching=False))
    firsts = _firsts(drive(one, [(0.0, pair[0]), (1.0, pair[1])]))
    assert firsts[2] - 1.0 == pytest.approx(firsts[1])


def test_what_does_not_fit_is_refused() -> None:
    """By the longest request there may be, and by the cache."""
    assert "max_model_len of 32768" in engine().refuses(EngineRequest(1, 32_000, 1000))
    assert "KV cache of 1600" in engine(num_gpu_blocks=100).refuses(EngineRequest(1, 2000, 1))
    assert not engine().refuses(EngineRequest(1, 2000, 1))


def test_a_cancelled_request_frees_what_it_held() -> None:
    """Whether it waits, is being prefilled or decodes."""
    for at in (0.0, 0.0025, 0.03, 0.2):
        one = engine()
        gone, other = EngineRequest(1, 6000, 100), EngineRequest(2, 100, 30)
        emissions = drive(one, [(0.0, gone), (0.001, other)], [(at, gone)])
        assert list(_ends(emissions)) == [2]
        assert one.load() == (0, 0, 0.0)


class _StepByStep(LlmEngine):
    """Plans one step at a time: what the closed form must amount to."""

    __slots__ = ()

    def _plan_run(self, begin: float, now: float) -> None:
        decoding = self._decoding
        plan = StepPlan(begin, 1, self._clock.decode(decoding.size, decoding.context), 0.0)
        self._plan = plan
        self.wake = plan.wake(ahead=self._async)


_ARRIVALS = st.lists(
    st.tuples(
        st.floats(0.0, 1.5),
        st.integers(1, 3000),
        st.integers(1, 60),
        st.integers(0, 5),
        st.one_of(st.none(), st.floats(0.0, 2.0)),
    ),
    min_size=1,
    max_size=25,
)


def _outcome(
    kind: type[LlmEngine],
    profile: LlmProfile,
    drawn: list[tuple[float, int, int, int, float | None]],
) -> tuple[list[tuple[float, int, str]], LlmEngine, list[EngineRequest]]:
    one = kind(profile, SPEC)
    requests = [
        EngineRequest(n, prompt, output, hashes=tuple(range(family * 100, family * 100 + 6)))
        for n, (_, prompt, output, family, _) in enumerate(drawn)
    ]
    arrivals = [(item[0], r) for item, r in zip(drawn, requests, strict=True)]
    cancels = [
        (item[0] + item[4], r)
        for item, r in zip(drawn, requests, strict=True)
        if item[4] is not None
    ]
    emissions = drive(one, arrivals, cancels)
    events = [(e.at, r.id, "first") for e in emissions for r in e.firsts]
    events += [(e.at, r.id, "end") for e in emissions for r in e.ended]
    return sorted(events, key=lambda item: (item[1], item[2])), one, requests


@settings(max_examples=150, deadline=None)
@given(drawn=_ARRIVALS, ahead=st.booleans(), blocks=st.sampled_from([250, 400, 10_000]))
@example(  # a stretch that needs blocks while one that has ended still holds its own
    drawn=[
        *[(0.0, 1, 1, 0, None)] * 3,
        (0.0, 300, 38, 0, None),
        (0.0, 513, 1, 1, None),
        (0.0, 2811, 39, 0, None),
        (1.0, 513, 1, 1, None),
        (0.0, 235, 39, 0, None),
    ],
    ahead=True,
    blocks=250,
)
def test_stretches_in_closed_form_are_the_steps_one_by_one(
    drawn: list[tuple[float, int, int, int, float | None]], ahead: bool, blocks: int
) -> None:
    """Same requests, same moments, same steps, whatever arrives or is cancelled between."""
    profile = LlmProfile(
        name="test",
        times=TIMES,
        capacity=replace(CAPACITY, num_gpu_blocks=blocks, max_num_seqs=12),
        asynchronous=ahead,
    )
    fast, one, requests = _outcome(LlmEngine, profile, drawn)
    slow, other, expected = _outcome(_StepByStep, profile, drawn)
    assert [item[1:] for item in fast] == [item[1:] for item in slow]
    assert all(
        math.isclose(a[0], b[0], rel_tol=1e-9, abs_tol=1e-9)
        for a, b in zip(fast, slow, strict=True)
    )
    assert [r.runs for r in requests] == [r.runs for r in expected]
    assert one.preemptions == other.preemptions
    assert len(one.log.times) == len(other.log.times)
    # All that was held has been given back, and whoever was not cancelled was served.
    assert one.load() == (0, 0, 0.0)
    kept = {n for n, item in enumerate(drawn) if item[4] is None}
    assert kept <= {item[1] for item in fast if item[2] == "end"}
    for request in requests:
        if request.id in kept:
            assert sum(stop - start for start, stop in request.runs) == request.output


def test_a_prompt_given_up_half_way_leaves_no_more_than_was_computed() -> None:
    """What comes after finds only the blocks whose steps were taken, not the whole prompt."""
    hashes = tuple(range(9))

    def seconds(gone_after: float) -> float:
        one = engine(max_num_batched_tokens=1024)
        first = EngineRequest(1, 5000, 1, hashes=hashes)
        second = EngineRequest(2, 5000, 1, hashes=hashes)
        emissions = drive(one, [(0.0, first), (10.0, second)], [(gone_after, first)])
        return emissions[-1].at - 10.0

    cold, half, warm = seconds(0.0), seconds(0.06), seconds(9.0)
    assert warm < 0.3 * cold
    assert 0.4 * cold < half < 0.9 * cold
