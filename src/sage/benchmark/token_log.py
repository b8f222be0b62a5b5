"""When tokens came, as a view of what an engine has put out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload


class TokenLog:
    """When the tokens of an engine's steps left it, step by step.

    Attributes:
        times: seconds, in rising order; one for each step.
    """

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times: array[float] = array("d")


class LoggedTimes(Sequence[float]):
    """The moments of one request's tokens: runs of an engine's steps, moved by a constant lag.

    A request decodes in each step from its first token on, unless it is preempted, so its moments
    need not be stored: a long simulation would have hundreds of millions.

    Args:
        log: of the engine.
        runs: (first step, step after the last) of each stretch, in order; none is empty.
        lag: seconds from the engine to whoever took the time.
    """

    __slots__ = ("lag", "log", "runs")

    def __init__(self, log: TokenLog, runs: Sequence[tuple[int, int]], lag: float) -> None:
        self.log = log
        self.runs = runs
        self.lag = lag

    def __len__(self) -> int:
        if len(self.runs) == 1:
            start, stop = self.runs[0]
            return stop - start
        return sum(stop - start for start, stop in self.runs)

    def __iter__(self) -> Iterator[float]:
        times, lag = self.log.times, self.lag
        for start, stop in self.runs:
            for moment in times[start:stop]:
                yield moment + lag

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        """Return one moment, or some."""
        if isinstance(index, slice):
            return list(self)[index]
        times = self.log.times
        if index == 0:
            return times[self.runs[0][0]] + self.lag
        if index == -1:
            return times[self.runs[-1][1] - 1] + self.lag
        place = index + len(self) if index < 0 else index
        if place >= 0:
            for start, stop in self.runs:
                if place < stop - start:
                    return times[start + place] + self.lag
                place -= stop - start
        raise IndexError(f"token {index} of {len(self)}")
