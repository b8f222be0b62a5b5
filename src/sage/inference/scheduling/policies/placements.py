"""Where a request goes."""

from __future__ import annotations

from collections.abc import Sequence

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import View
from sage.inference.scheduling.request import Request


class LeastBusy:
    """The instance with the fewest running requests; among equals the one idle for longest.

    Choosing the one whose last dispatch lies furthest back rotates through equals, gives each
    its turn whichever of them tie, and never floods an instance that has just been added.
    """

    def choose(
        self,
        request: Request,  # noqa: ARG002 - Placement's signature
        instances: Sequence[InstanceState],
        now: float,  # noqa: ARG002 - Placement's signature
    ) -> InstanceState | None:
        """Return the least busy of ``instances``."""
        if len(instances) == 1:
            return instances[0]
        return min(instances, key=_business)


def _business(state: InstanceState) -> tuple[int, int]:
    return len(state.running), state.last_dispatch


class LeastWork:
    """(new + waiting prefill) x (batch + 1), the LMetric idea, here in seconds.

    New prefill is what the instance has likely not cached, so requests follow their prefixes,
    until the waiting prefill and the batch there outweigh that. Where every candidate's speed is
    known, tokens count as the seconds they take there, which serves mixed speeds. Instances whose
    decode step would break the request's TPOT target, or whose backlog its TTFT target, come after
    those that can meet them.

    Args:
        by_speed: weigh tokens by learned speed and look at targets; without it this is LMetric
            as published.
    """

    def __init__(self, *, by_speed: bool = True) -> None:
        self._by_speed = by_speed
        self._view: View | None = None

    def bind(self, view: View) -> None:
        """Take the scheduler's view."""
        self._view = view

    def choose(
        self, request: Request, instances: Sequence[InstanceState], now: float
    ) -> InstanceState | None:
        """Return the one with the least work for this request."""
        assert self._view is not None
        if len(instances) == 1:
            return instances[0]
        prompt = self._view.prompt(request)
        if not self._by_speed:
            return min(instances, key=lambda s: (_work(s, request, prompt, now), s.last_dispatch))
        if all(state.speed_known(now) for state in instances):
            capable = _capable(self._view, request, prompt, instances, now)
            return min(
                capable,
                key=lambda s: (_seconds(s, request, prompt, now), s.last_dispatch),
            )
        return min(instances, key=lambda s: (_work(s, request, prompt, now), s.last_dispatch))


class CheapestCapable:
    """The cheapest instance that still meets the SLO; among equals the one with the least work.

    When none does, the one with the least work. An instance of unknown speed is taken to meet it.
    """

    def __init__(self) -> None:
        self._work = LeastWork()
        self._view: View | None = None

    def bind(self, view: View) -> None:
        """Take the scheduler's view."""
        self._view = view
        self._work.bind(view)

    def choose(
        self, request: Request, instances: Sequence[InstanceState], now: float
    ) -> InstanceState | None:
        """Return the cheapest capable one."""
        assert self._view is not None
        if len(instances) == 1:
            return instances[0]
        prompt = self._view.prompt(request)
        capable = [s for s in instances if meets_slo(self._view, request, prompt, s, now)]
        if capable:
            least = min(state.spec.cost for state in capable)
            capable = [state for state in capable if state.spec.cost == least]
        return self._work.choose(request, capable or instances, now)


def meets_slo(view: View, request: Request, prompt: int, state: InstanceState, now: float) -> bool:
    """Whether an instance is expected to meet a request's TTFT and TPOT targets from now."""
    slo = view.slo(request)
    if slo is None or not state.speed_known(now):
        return True
    model = state.latency
    if slo.tpot_s is not None and model.step(state.batch(now) + 1.0) > slo.tpot_s:
        return False
    targets = [t for t in (slo.ttft_s, slo.deadline_s) if t is not None]
    if not targets:
        return True
    first = model.margin * model.ttft(state.uncached(request, prompt) + state.prefill)
    return now + first <= request.arrived + min(targets)


def _capable(
    view: View, request: Request, prompt: int, instances: Sequence[InstanceState], now: float
) -> Sequence[InstanceState]:
    if view.slo(request) is None:
        return instances
    return [s for s in instances if meets_slo(view, request, prompt, s, now)] or instances


def _work(state: InstanceState, request: Request, prompt: int, now: float) -> float:
    return (state.uncached(request, prompt) + state.prefill) * (state.batch(now) + 1)


def _seconds(state: InstanceState, request: Request, prompt: int, now: float) -> float:
    tokens = state.uncached(request, prompt) + state.prefill
    return state.latency.ttft(tokens) * (state.batch(now) + 1)
