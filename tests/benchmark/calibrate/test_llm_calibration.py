"""A profile fitted to probes is that of the engine that was probed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sage.benchmark.calibrate.engine_facts import EngineFacts
from sage.benchmark.calibrate.llm import Calibrated, calibrate_llm
from sage.benchmark.calibrate.model_player import ModelPlayer
from sage.benchmark.calibrate.played import Played, Player, Shot
from sage.benchmark.calibrate.probes import ProbePlan
from sage.benchmark.simulate.profile import Capacity, LlmProfile
from sage.benchmark.simulate.step_times import StepTimes
from sage.errors import ConfigError, UpstreamError

TIMES = StepTimes(
    b0=8.0,
    b1=5.0,
    b2=0.004,
    p0=6.0,
    c1=3.2,
    c2=0.001,
    r0=4.0,
    d1=3.0,
    decode=((1, 12.0), (4, 20.0), (8, 60.0), (16, 90.0)),
    h_in=2.0,
    h_out=2.0,
    least=0.0,
)
CAPACITY = Capacity(num_gpu_blocks=16 * 4096, block_size=1, max_num_seqs=16, max_model_len=4096)
ENGINE = LlmProfile(
    name="engine", times=TIMES, capacity=CAPACITY, asynchronous=False, head_tokens=10
)


def calibrated(player: Player, name: str = "unknown", **plan: int) -> Calibrated:
    """Return what probes of a player tell."""
    facts = EngineFacts(name=name, version="", capacity=CAPACITY, assumed=())
    return calibrate_llm(player, facts, ProbePlan(**plan))


@pytest.mark.parametrize("ahead", [False, True], ids=["synchronous", "asynchronous"])
def test_an_engine_of_known_times_is_found_again(ahead: bool) -> None:
    """Every cost of its steps, the cached head of its prompts, and whether it plans ahead."""
    found = calibrated(ModelPlayer(replace(ENGINE, asynchronous=ahead), overhead=30))
    times = found.profile.times
    for name in ("p0", "r0", "c1", "c2", "d1", "b2"):
        assert getattr(times, name) == pytest.approx(getattr(TIMES, name), rel=0.01), name
    assert times.h_in + times.h_out == pytest.approx(4.0, rel=0.01)
    for batch in (1, 2, 4, 8, 16):
        assert times.decode_ms(batch) == pytest.approx(TIMES.decode_ms(batch), rel=0.01)
    assert (found.profile.asynchronous, found.profile.head_tokens) == (ahead, 10)
    assert len(found.errors) == 5
    for error in found.errors:
        assert abs(error.worst) < 0.01, error.what


def test_a_linear_engine_is_found_again_too() -> None:
    """The table of batches is then a line."""
    line = replace(ENGINE, times=replace(TIMES, decode=()))
    times = calibrated(ModelPlayer(line)).profile.times
    for batch in (1, 3, 16, 20):
        assert times.decode_ms(batch) == pytest.approx(8.0 + 5.0 * batch, rel=0.01)


class _Pausing:
    """A player whose machine stops for a quarter of a second in every third probe."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._rng = random.Random(3)
        self.paused = 0

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        played = self._player.play(shots)
        if self._rng.random() > 1 / 3:
            return played
        self.paused += 1
        at = self._rng.uniform(0.0, max(one.tokens[-1] for one in played))
        return [replace(one, tokens=[t + 0.25 * (t > at) for t in one.tokens]) for one in played]


def test_pauses_of_the_machine_are_no_steps() -> None:
    """The fit is that of the steps without them; the spread of the repeats tells of them."""
    player = _Pausing(ModelPlayer(ENGINE))
    found = calibrated(player, repeats=5)
    assert player.paused > 10
    times = found.profile.times
    assert times.c1 == pytest.approx(TIMES.c1, rel=0.03)
    for batch in (1, 4, 8, 16):
        assert times.decode_ms(batch) == pytest.approx(TIMES.decode_ms(batch), rel=0.03)
    assert max(error.spread for error in found.errors) > 0.1


class _Clearing:
    """A player of an engine in which prompts that come late find nothing cached."""

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        if shots[-1].at > 0:
            shots = [*shots[:-1], shots[-1]._replace(cached=0)]
        return ModelPlayer(ENGINE).play(shots)


def test_an_engine_that_clears_its_slots_is_told_by_what_is_cached() -> None:
    """Its times are found as before; only of llama.cpp is it known why."""
    found = calibrated(_Clearing(), "llama.cpp")
    assert (found.profile.clears_idle, found.profile.head_tokens) == (True, 10)
    assert found.profile.times.c1 == pytest.approx(TIMES.c1, rel=0.01)
    for error in found.errors:
        assert abs(error.worst) < 0.01, error.what
    assert not calibrated(_Clearing()).profile.clears_idle
    assert not calibrated(ModelPlayer(ENGINE), "llama.cpp").profile.clears_idle


class _Late:
    """A player with which what comes late comes even later, the first times."""

    def __init__(self, times: int) -> None:
        self._player = ModelPlayer(ENGINE)
        self._left = times

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        if self._left and shots[-1].at > 0:
            self._left -= 1
            shots = [*shots[:-1], shots[-1]._replace(at=60.0)]
        return self._player.play(shots)


def test_a_prompt_that_misses_the_streams_is_sent_again() -> None:
    """What is kept are plays in which it met them."""
    found = calibrated(_Late(4))
    injected = [take.played for take in found.takes if take.kind == "inject"]
    assert injected
    for played in injected:
        assert all(one.tokens[0] < played[-1].sent < one.tokens[-1] for one in played[:-1])
    assert found.profile.times.d1 == pytest.approx(TIMES.d1, rel=0.01)


def test_a_prompt_that_misses_the_streams_always_is_an_error() -> None:
    """Nothing is fitted to what was not measured."""
    with pytest.raises(UpstreamError, match="5 times a prompt sent beside 1 streams"):
        calibrated(_Late(5))


def test_an_engine_with_one_slot_is_not_probed_beside_streams() -> None:
    """What came late would only wait."""
    facts = EngineFacts(
        name="llama.cpp", version="", capacity=replace(CAPACITY, max_num_seqs=1), assumed=()
    )
    one = replace(ENGINE, capacity=facts.capacity)
    found = calibrate_llm(ModelPlayer(one), facts, ProbePlan())
    assert {take.kind for take in found.takes} == {"prefill", "decode", "prefix"}
    assert found.profile.times.c1 == pytest.approx(TIMES.c1, rel=0.01)


def test_probes_keep_to_the_engines_limits() -> None:
    """Batches to its slots, prompts to its longest request and its step."""
    small = replace(CAPACITY, max_num_seqs=3, max_model_len=300, max_num_batched_tokens=256)
    plan = ProbePlan().within(small)
    assert plan.batches == (1, 2, 3)
    assert plan.longest == 300 - 128 - 64
    assert plan.lengths[-1] == plan.longest
    with pytest.raises(ConfigError, match="takes prompts of 44 tokens"):
        ProbePlan().within(replace(small, max_model_len=236))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"longest": 32}, "longest is 32"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batches": ()}, "1 on"),
    ],
)
def test_a_plan_of_nothing_is_refused(values: dict[str, int], said: str) -> None:
    """With the value and what to write."""
    with pytest.raises(ConfigError, match=said):
        ProbePlan(**values)
