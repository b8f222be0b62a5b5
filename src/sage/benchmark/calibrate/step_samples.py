"""Steps of an engine, read from when the tokens of a probe's answers came."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sage.benchmark.calibrate.played import Played

# Tokens of one step come one by one, but much nearer to each other than steps are.
_SAME_STEP = 0.4


@dataclass(frozen=True, slots=True)
class StepSample:
    """One step, or the median of some alike.

    Attributes:
        ms: how long it took; where ``idle``, from when its requests were sent.
        new: prompt tokens that it computed.
        pairs: of a new token and an earlier one.
        begun: prompts that it computed.
        batch: requests that decoded.
        context: tokens that these attended to.
        idle: whether the engine had nothing to do before.
    """

    ms: float
    new: int = 0
    pairs: float = 0.0
    begun: int = 0
    batch: int = 0
    context: float = 0.0
    idle: bool = False


class _Step:
    """Tokens that came together: (request, number of its token)."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.tokens: dict[int, int] = {}

    @property
    def at(self) -> float:
        return statistics.median(self.moments)


def steps_of(played: Sequence[Played], *, budget: int) -> list[StepSample]:
    """Return the steps that are told apart beyond doubt.

    Left out are steps whose batch was not wholly in the step before, those with more prompt tokens
    than a step can carry, which were several, and those nearer to the one before than steps are:
    their tokens had been held up on the way.

    Args:
        played: all that the engine had to do.
        budget: most tokens of a step.
    """
    near = _nearness(played)
    steps = list(_clusters(played, near))
    if not steps:
        return []
    samples = []
    if (first := _idle_sample(played, steps[0])) is not None:
        samples.append(first)
    for before, step in pairwise(steps):
        if step.at - before.at > near and (sample := _sample(played, before, step)) is not None:
            samples.append(sample)
    return [sample for sample in samples if sample.new + sample.batch <= budget]


def decode_medians(samples: Sequence[StepSample]) -> list[StepSample]:
    """Return steps with prompts as they are, and one that stands for those of each batch."""
    kept = [sample for sample in samples if sample.new]
    by_batch: dict[int, list[StepSample]] = {}
    for sample in samples:
        if not sample.new:
            by_batch.setdefault(sample.batch, []).append(sample)
    for batch, alike in sorted(by_batch.items()):
        if len(alike) >= 3:
            ms = statistics.median(item.ms for item in alike)
            context = statistics.fmean(item.context for item in alike)
            kept.append(StepSample(ms, batch=batch, context=context))
    return kept


def _nearness(played: Sequence[Played]) -> float:
    """Return how many seconds tokens of one step are apart at most."""
    gaps = [b - a for one in played for a, b in pairwise(one.tokens)]
    return _SAME_STEP * statistics.median(gaps) if gaps else 0.0


def _clusters(played: Sequence[Played], near: float) -> Iterator[_Step]:
    tokens = sorted(
        (moment, request, number)
        for request, one in enumerate(played)
        for number, moment in enumerate(one.tokens)
    )
    step = _Step()
    for moment, request, number in tokens:
        if step.moments and (request in step.tokens or moment - step.moments[0] > near):
            yield step
            step = _Step()
        step.moments.append(moment)
        step.tokens[request] = number
    if step.moments:
        yield step


def _idle_sample(played: Sequence[Played], step: _Step) -> StepSample | None:
    sent = min(played[request].sent for request in step.tokens)
    if sent > min(one.sent for one in played) or len(step.tokens) > 1:
        # Of several that are sent together, the first may have begun a step by itself.
        return None
    return _with_prompts(played, list(step.tokens), StepSample((step.at - sent) * 1000, idle=True))


def _sample(played: Sequence[Played], before: _Step, step: _Step) -> StepSample | None:
    firsts = [request for request, number in step.tokens.items() if not number]
    decoding = {request: number for request, number in step.tokens.items() if number}
    going_on = {r for r, number in before.tokens.items() if number + 1 < len(played[r].tokens)}
    if set(decoding) != going_on or not decoding:
        return None
    context = sum(played[request].prompt + number for request, number in decoding.items())
    base = StepSample((step.at - before.at) * 1000, batch=len(decoding), context=context)
    return _with_prompts(played, firsts, base)


def _with_prompts(
    played: Sequence[Played], firsts: Sequence[int], base: StepSample
) -> StepSample | None:
    if not base.ms > 0:
        return None
    new, pairs = 0, 0.0
    for request in firsts:
        one = played[request]
        count = one.prompt - one.cached
        new += count
        pairs += count * (one.cached + 0.5 * count)
    return StepSample(base.ms, new, pairs, len(firsts), base.batch, base.context, base.idle)
