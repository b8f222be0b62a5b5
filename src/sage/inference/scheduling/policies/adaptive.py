"""First come, first served while all is well; by slack while it is not."""

from __future__ import annotations

from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policies.orderings import ArrivalOrder, SlackOrder
from sage.inference.scheduling.policies.placements import LeastBusy, LeastWork
from sage.inference.scheduling.policy import Rank, View
from sage.inference.scheduling.request import Request

_HIGH_PRESSURE = 0.5
_LOW_PRESSURE = 0.05
_LOW_ATTAINMENT = 0.95
_HIGH_ATTAINMENT = 0.97
_CALM = 10.0


@mypyc_attr(allow_interpreted_subclasses=True)
class Adaptive:
    """Ordering and placement in one, which change sides by measured load and attainment.

    Over to slack as soon as as many wait as half the slots there are, or fewer than 95% of the
    latest requests met their SLO; back once for 10 s hardly any wait and more than 97% meet it.

    Attributes:
        by_slack: which side it is on.
    """

    def __init__(self) -> None:
        self.by_slack = False
        self._slack, self._work = SlackOrder(), LeastWork()
        self._arrival, self._busy = ArrivalOrder(), LeastBusy()
        self._view: View | None = None
        self._calm_since: float | None = None

    def bind(self, view: View) -> None:
        """Take the scheduler's view."""
        self._view = view
        self._slack.bind(view)
        self._work.bind(view)

    def rank(self, request: Request, now: float) -> Rank:
        """Return the rank of the side it is on."""
        return (self._slack if self.by_slack else self._arrival).rank(request, now)

    def choose(
        self, request: Request, instances: Sequence[InstanceState], now: float
    ) -> InstanceState | None:
        """Return the choice of the side it is on."""
        return (self._work if self.by_slack else self._busy).choose(request, instances, now)

    def review(self, now: float) -> bool:
        """Look at load and attainment; return whether it has changed sides."""
        assert self._view is not None
        pressure = self._view.pressure()
        attainment = self._view.attainment(now)
        if attainment is None:
            attainment = 1.0
        if not self.by_slack:
            self._calm_since = None
            self.by_slack = pressure > _HIGH_PRESSURE or attainment < _LOW_ATTAINMENT
            return self.by_slack
        if pressure > _LOW_PRESSURE or attainment < _HIGH_ATTAINMENT:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= _CALM:
            self.by_slack = False
            return True
        return False
