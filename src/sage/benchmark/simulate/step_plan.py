"""Steps that an engine will take next, in closed form."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import ceil, sqrt

from sage.benchmark.simulate.engine_request import EngineRequest


class StepPlan:
    """A stretch of steps, each longer than the one before by the same amount.

    In a stretch that only decodes the batch stays and its context grows by a token a request.

    Args:
        begin: when the first step begins, in seconds.
        count: how many steps.
        first: seconds of the first.
        growth: seconds that each takes more than the one before.
        done: requests whose prompts are computed with the last step.

    Attributes:
        count: how many steps.
        done: requests whose prompts are computed with the last step.
    """

    __slots__ = ("_begin", "_first", "_half", "count", "done")

    def __init__(
        self,
        begin: float,
        count: int,
        first: float,
        growth: float,
        done: Sequence[EngineRequest] = (),
    ) -> None:
        self._begin = begin
        self._first = first
        self._half = 0.5 * growth
        self.count = count
        self.done = done

    def end(self, step: int) -> float:
        """Return when the first `step` steps are over."""
        return self._begin + step * (self._first + (step - 1) * self._half)

    def wake(self, *, ahead: bool) -> float:
        """Return when the step after these is put together.

        Args:
            ahead: whether that is when the last of them begins, not when it ends.
        """
        return self.end(self.count - 1 if ahead else self.count)

    def cut(self, at: float, *, ahead: bool) -> None:
        """Drop the steps that are put together at `at` or later; the first one stays."""
        # How many of the moments at which steps end, from the beginning on, lie before `at`.
        before = self._ends_before(at)
        self.count = min(self.count, before + 1 if ahead else max(1, before))

    def _ends_before(self, at: float) -> int:
        span = at - self._begin
        if span <= 0.0:
            return 0
        half = self._half
        slope = self._first - half
        if half > 0.0:
            # Without cancellation where half is tiny.
            count = ceil(2.0 * span / (slope + sqrt(slope * slope + 4.0 * half * span)))
        else:
            count = ceil(span / self._first)
        while count > 0 and self.end(count - 1) >= at:
            count -= 1
        while self.end(count) < at:
            count += 1
        return count

    def log(self, times: array[float], out: float) -> float:
        """Append when each step's tokens leave, `out` s after its end; return the last end."""
        last = self.end(self.count)
        if self.count > 1:
            begin, first, half = self._begin + out, self._first, self._half
            times.extend([begin + i * (first + (i - 1) * half) for i in range(1, self.count)])
        times.append(last + out)
        return last
