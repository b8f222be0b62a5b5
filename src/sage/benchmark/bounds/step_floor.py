"""The least that a step of a batching engine takes, as a line in the requests it decodes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from sage.benchmark.simulate.step_times import StepTimes


class StepFloor(NamedTuple):
    """A step decoding n requests takes at least ``fixed + each * n``, and what else is in it.

    Attributes:
        fixed: seconds of the step, to be shared by those in it.
        each: seconds of a request that decodes.
    """

    fixed: float
    each: float


def shortest(times: StepTimes, most: int) -> float:
    """Return the least seconds of a step in which a request gets a token, whatever is beside it."""
    return min(*map(times.decode_ms, range(1, most + 1)), times.p0) / 1000


def step_floor(times: StepTimes, most: int, at: float) -> StepFloor:
    """Return the line below all steps' times that is the highest at a batch of so many.

    Args:
        times: of the engine.
        most: requests of its largest batch.
        at: the batch that matters.
    """
    beside = times.b1 if times.d1 is None else times.d1
    least = [min(times.decode_ms(n), times.p0 + beside * n) for n in range(1, most + 1)]
    slopes = {0.0, times.b1, beside}
    slopes |= {(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(times.decode)}
    # Lines through the step that is cheapest for each of its requests, and through none at all.
    slopes.add(min(ms / n for n, ms in enumerate(least, 1)))
    lines = []
    for slope in slopes:
        fixed = min(times.p0, *(ms - slope * n for n, ms in enumerate(least, 1)))
        if slope >= 0.0 and fixed >= -1e-12:
            lines.append(StepFloor(max(0.0, fixed) / 1000, slope / 1000))
    return max(lines, key=lambda line: line.fixed + line.each * at)
