"""An LLM engine's profile from probes of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sage.benchmark.calibrate.engine_facts import EngineFacts
from sage.benchmark.calibrate.errors import ProbeError, probe_errors
from sage.benchmark.calibrate.fitting import fit_steps
from sage.benchmark.calibrate.played import Player
from sage.benchmark.calibrate.probes import ProbePlan, Probing, Take
from sage.benchmark.calibrate.step_samples import StepSample, decode_medians, steps_of
from sage.benchmark.simulate.profile import LlmProfile

# A prompt whose beginning is cached is answered in less than this share of the time it took anew.
_CACHED_TTFT = 0.6


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A profile and what it is worth.

    Attributes:
        profile: of the engine.
        errors: of its model, probe by probe.
        takes: what was measured.
        samples: the steps that it was fitted to.
    """

    profile: LlmProfile
    errors: Sequence[ProbeError]
    takes: Sequence[Take]
    samples: Sequence[StepSample]


def calibrate_llm(
    player: Player,
    facts: EngineFacts,
    plan: ProbePlan,
    *,
    name: str = "calibrated",
    on_take: Callable[[Take, int], None] | None = None,
) -> Calibrated:
    """Measure an engine that nobody else uses, and fit its profile.

    Args:
        player: of the engine.
        facts: what it says of itself.
        plan: what to ask at most.
        name: of the profile.
        on_take: called with each probe and how many there are, for a progress display.

    Raises:
        SageError: a probe has no good answer, or the probes tell too little.
    """
    budget = facts.capacity.max_num_batched_tokens
    plan = plan.within(facts.capacity)
    probing = Probing(player, plan, budget=budget)
    total = probing.total
    if on_take is not None:
        probing = Probing(player, plan, budget=budget, on_take=lambda take: on_take(take, total))
    takes = probing.run()
    return fit_takes(takes, facts, plan.batches, name=name)


def fit_takes(
    takes: Sequence[Take], facts: EngineFacts, batches: Sequence[int], *, name: str
) -> Calibrated:
    """Fit a profile to what was measured.

    Args:
        takes: the measurements.
        facts: what the engine says of itself.
        batches: sizes of decoding batches among them.
        name: of the profile.

    Raises:
        ConfigError: the measurements tell too little, or SciPy is missing.
    """
    budget = facts.capacity.max_num_batched_tokens
    samples = [
        sample
        for take in takes
        if take.kind != "prefix"
        for sample in decode_medians(steps_of(take.played, budget=budget))
    ]
    profile = LlmProfile(
        name=name,
        times=fit_steps(samples, batches),
        capacity=facts.capacity,
        asynchronous=False,
        prefix_caching=_caches_prefixes(takes),
        preempts=facts.preempts,
        head_tokens=_head(takes),
        clears_idle=facts.name == "llama.cpp" and _clears_idle(takes),
    )
    choices = [profile]
    if facts.name != "llama.cpp":
        # Whether steps are put together ahead is not told; what comes late shows it.
        choices.append(replace(profile, asynchronous=True))
    judged = [(choice, probe_errors(choice, takes)) for choice in choices]
    profile, errors = min(judged, key=lambda pair: _late_error(pair[1]))
    return Calibrated(profile, errors, takes, samples)


def _late_error(errors: Sequence[ProbeError]) -> float:
    return abs(
        next((error.median for error in errors if error.what.startswith("TTFT beside")), 0.0)
    )


def _head(takes: Sequence[Take]) -> int:
    """Return how much of prompts that share nothing but the template is cached."""
    cached = [take.played[0].cached for take in takes if take.kind == "prefill"]
    return round(statistics.median(cached)) if cached else 0


def _clears_idle(takes: Sequence[Take]) -> bool:
    """Return whether a prompt found nothing cached though every slot had been used before."""
    head = _head(takes)
    return any(
        one.cached < min(head, one.prompt - 1)
        for take in takes
        if take.kind == "inject"
        for one in take.played
    )


def _caches_prefixes(takes: Sequence[Take]) -> bool:
    first, again, *_ = (take.played[0] for take in takes if take.kind == "prefix")
    return again.cached > 0.5 * again.prompt or again.ttft < _CACHED_TTFT * first.ttft
