"""Engines and requests for the simulator's tests."""

from __future__ import annotations

from dataclasses import replace

from sage.benchmark.simulate.engine_request import Emission, EngineModel, EngineRequest
from sage.benchmark.simulate.llm_engine import LlmEngine
from sage.benchmark.simulate.profile import Capacity, LlmProfile
from sage.benchmark.simulate.step_times import StepTimes
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

TIMES = StepTimes(
    b0=6.0, b1=0.01, b2=2e-5, p0=6.0, c1=0.02, c2=1e-6, h_in=2.0, h_out=1.0, floor=20.0
)
CAPACITY = Capacity(num_gpu_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=2048)
PROFILE = LlmProfile(name="test", times=TIMES, capacity=CAPACITY)
SPEC = InstanceSpec("e", Kind.LLM, ("chat",))


def engine(profile: LlmProfile = PROFILE, **capacity: int) -> LlmEngine:
    """Return an engine with some of its limits changed."""
    return LlmEngine(replace(profile, capacity=replace(profile.capacity, **capacity)), SPEC)


def drive(
    one: EngineModel,
    arrivals: list[tuple[float, EngineRequest]],
    cancels: list[tuple[float, EngineRequest]] | None = None,
) -> list[Emission]:
    """Give an engine requests at their moments, cancel some, and return all that leaves it."""
    events = [(at, 0, r) for at, r in arrivals] + [(at, 1, r) for at, r in cancels or ()]
    events.sort(key=lambda item: (item[0], item[1], item[2].id))
    found: list[Emission] = []
    ended: set[int] = set()
    for at, what, request in events:
        while one.wake < at:
            found += [e for e in (one.step(),) if e is not None]
        ended |= {r.id for e in found if e.at <= at for r in e.ended}
        if not what:
            one.submit(request, at)
        elif request.id not in ended:
            one.cancel(request, at)
    while one.wake < float("inf"):
        found += [e for e in (one.step(),) if e is not None]
    return found
