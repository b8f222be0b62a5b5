"""The gaps between the tokens of many answers (ITL)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from sage.benchmark.statistics import Spread, spread, weighted_spread
from sage.benchmark.token_log import LoggedTimes, TokenLog


def gap_spread(answers: Iterable[Sequence[float]]) -> Spread | None:
    """Return how the gaps of all answers together are spread, in milliseconds.

    Args:
        answers: when the tokens of each came, in seconds. Where these are views of an engine's
            steps, each step's gap is looked at once, not once for each answer.
    """
    gaps: list[float] = []
    logged: dict[int, tuple[TokenLog, dict[int, int]]] = {}
    for times in answers:
        if isinstance(times, LoggedTimes):
            log = times.log
            changes = logged.setdefault(id(log), (log, {}))[1]
            gaps += _count(times, changes)
        else:
            gaps += [(after - before) * 1000 for before, after in pairwise(times)]
    if not logged:
        return spread(gaps)
    weights: dict[float, int] = dict.fromkeys(gaps, 0)
    for gap in gaps:
        weights[gap] += 1
    for log, changes in logged.values():
        _weigh(log, changes, weights)
    return weighted_spread(weights)


def _count(times: LoggedTimes, changes: dict[int, int]) -> list[float]:
    """Note between which steps an answer has gaps; return those between its stretches."""
    extra = []
    stop = -1
    moments = times.log.times
    for first, after in times.runs:
        changes[first + 1] = changes.get(first + 1, 0) + 1
        changes[after] = changes.get(after, 0) - 1
        if stop >= 0:
            extra.append((moments[first] - moments[stop - 1]) * 1000)
        stop = after
    return extra


def _weigh(log: TokenLog, changes: Mapping[int, int], weights: dict[float, int]) -> None:
    steps = sorted(changes)
    moments = log.times
    for (step, following), answers in zip(
        pairwise(steps), accumulate(changes[s] for s in steps), strict=False
    ):
        if answers:
            for before, after in pairwise(moments[step - 1 : following]):
                gap = round((after - before) * 1000, 6)
                weights[gap] = weights.get(gap, 0) + answers
