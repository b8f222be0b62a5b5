"""The linear program whose value no schedule exceeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sage.benchmark.bounds.scipy_extra import solver
from sage.benchmark.bounds.work import Work
from sage.errors import SageError

_ROWS = 2500
# Windows of a level begin so many times in the length of one.
_PER_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The program's solution.

    Attributes:
        value: what the prices prove; the sum of weights in time is at most this.
        shares: how much of each request is served in time, 0 to 1.
    """

    value: float
    shares: tuple[float, ...]


def relax(work: Sequence[Work], weights: Sequence[float], capacity: float) -> Relaxation:
    """Pool all engines into one server and let requests be served in part.

    Rows say: the work whose window lies within [a, b] is at most capacity x (b - a), for windows
    of lengths halved again and again, four of them to a length. The value is taken from the
    prices, each row's times its room and what is left of each request's weight: weak duality makes
    that an upper bound whatever the solver's tolerance.

    Args:
        work: of requests of one kind.
        weights: of each, at least 0.
        capacity: engine seconds a second.

    Raises:
        ConfigError: SciPy is not installed.
        SageError: the solver failed.
    """
    np, linprog, sparse = solver()
    gains = np.array([w if item.possible else 0.0 for item, w in zip(work, weights, strict=True)])
    served = [item for item in work if item.possible]
    if not served:
        return Relaxation(0.0, (0.0,) * len(work))
    possible = np.array([item.possible for item in work])
    costs, room = _rows(np, sparse, served, capacity)
    gain = gains[possible]
    shares = np.zeros(len(work))
    if not costs.shape[0]:
        shares[possible] = 1.0
        return Relaxation(float(gain.sum()), tuple(shares.tolist()))
    found = linprog(-gain, A_ub=costs, b_ub=room, bounds=(0.0, 1.0), method="highs")
    if found.x is None:
        raise SageError(f"HiGHS found no solution of a program that has one: {found.message}")
    prices = np.maximum(0.0, -found.ineqlin.marginals)
    shares[possible] = found.x
    value = float(prices @ room + np.maximum(0.0, gain - costs.T @ prices).sum())
    return Relaxation(value, tuple(shares.tolist()))


def _rows(np: Any, sparse: Any, work: Sequence[Work], capacity: float) -> tuple[Any, Any]:
    """Return the windows' costs by request, one matrix row each, and the room in each."""
    parts = [(i, part) for i, item in enumerate(work) for part in item.parts if part.due < math.inf]
    if not parts:
        return sparse.csr_matrix((0, len(work))), np.zeros(0)
    column = np.array([i for i, _ in parts])
    release = np.array([part.release for _, part in parts])
    due = np.array([part.due for _, part in parts])
    seconds = np.array([part.seconds for _, part in parts])
    begin, end = float(release.min()), float(due.max())
    rows, members, rooms = [], [], []
    size = 0
    for length in _lengths(end - begin, float((due - release).min())):
        step = length / _PER_LENGTH
        # Windows by number, from the first that has a share of the run.
        starts = begin + step * np.arange(1 - _PER_LENGTH, math.ceil((end - begin) / step) + 1)
        ends = starts + length
        last = np.searchsorted(starts, release, side="right") - 1
        for back in range(_PER_LENGTH + 1):
            number = np.maximum(last - back, 0)
            inside = np.flatnonzero((last >= back) & (due <= ends[number]))
            rows.append(size + number[inside])
            members.append(inside)
        spans = np.minimum(ends, end) - np.maximum(starts, begin)
        rooms.append(capacity * np.maximum(0.0, spans))
        size += len(starts)
    row, member, room = np.concatenate(rows), np.concatenate(members), np.concatenate(rooms)
    ways = [
        sparse.csr_matrix((seconds[member, way], (row, column[member])), shape=(size, len(work)))
        for way in range(seconds.shape[1])
    ]
    costs, room = sparse.vstack(ways, format="csr"), np.tile(room, len(ways))
    binding = np.flatnonzero(np.asarray(costs.sum(axis=1)).ravel() > room)
    return costs[binding], room[binding]


def _lengths(whole: float, shortest: float) -> list[float]:
    """Return the windows' lengths: all, a half, and so on while there are not too many."""
    lengths, rows = [], 0.0
    length = max(whole, 1e-9) * (1 + 1e-9)
    while rows < _ROWS and length >= shortest:
        lengths.append(length)
        rows += _PER_LENGTH * whole / length
        length /= 2
    return lengths
