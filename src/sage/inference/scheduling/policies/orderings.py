"""Who goes next."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sage.inference.scheduling.policy import Rank, View
from sage.inference.scheduling.request import Request, is_bulk, is_bulk_embedding

_NEVER = float("inf")
_STEP = 0.02


@mypyc_attr(allow_interpreted_subclasses=True)
class ArrivalOrder:
    """All ranks are equal, so requests go as they arrived."""

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the one rank there is."""
        return ()


@mypyc_attr(allow_interpreted_subclasses=True)
class PriorityOrder:
    """The higher priority first; within one, as they arrived."""

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the priority, turned round."""
        return (-request.priority,)


@mypyc_attr(allow_interpreted_subclasses=True)
class LaneOrder:
    """What someone waits for before bulk, then by priority, then as they arrived."""

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the lane and the priority."""
        return float(is_bulk(request)), -request.priority


@mypyc_attr(allow_interpreted_subclasses=True)
class SlackOrder:
    """By the latest start that still meets the SLO.

    Slack is deadline - now - predicted time to the first token, and ``now`` is the same for all.
    Requests with an SLO come first, those without one next, bulk last of these where ``lanes``,
    and those that have lost theirs at the end: serving them would only make others lose too.

    The prediction is the cautious one, which 95% keep to. A request too late for that but not for
    the usual time goes by the moment its SLO is due: it is more likely to make it than not, so it
    comes before what has time, but after those who would be late in its place.
    """

    def __init__(self, *, lanes: bool = False) -> None:
        self._lanes = lanes
        self._view: View | None = None

    def bind(self, view: View) -> None:
        """Take the scheduler's view."""
        self._view = view

    def rank(self, request: Request, now: float) -> Rank:
        """Return the latest start, or a rank after all of those."""
        assert self._view is not None
        latest, chance, due = self._view.start_times(request, now)
        if due == _NEVER:
            return 1.0, float(self._lanes and is_bulk(request)), -request.priority
        if latest < now:
            if chance < now:
                return (2.0,)
            latest = due
        # Bulk embeddings wait for room of their own, and nobody is to wait behind them.
        bulk = self._lanes and is_bulk_embedding(request, self._view.slo(request))
        # Steps keep what is learned from one moment to the next from reshuffling the queue.
        return 0.5 if bulk else 0.0, latest // _STEP


@mypyc_attr(allow_interpreted_subclasses=True)
class TtlOrder:
    """By priority, and within one by the time a request expires, as llm-d's flow control does.

    A request expires at its deadline, else at its TTFT target, else after ``ttl`` seconds.
    """

    def __init__(self, ttl: float = 60.0) -> None:
        self._ttl = ttl
        self._view: View | None = None

    def bind(self, view: View) -> None:
        """Take the scheduler's view."""
        self._view = view

    def rank(self, request: Request, now: float) -> Rank:  # noqa: ARG002 - Ordering's signature
        """Return the priority, turned round, and when the request expires."""
        assert self._view is not None
        slo = self._view.slo(request)
        ttl = self._ttl if slo is None else slo.deadline_s or slo.ttft_s or self._ttl
        return -request.priority, request.arrived + ttl
