"""Where a request goes."""

from __future__ import annotations

from collections.abc import Sequence

from mypy_extensions import mypyc_attr

from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import View
from sage.inference.scheduling.request import Request


@mypyc_attr(allow_interpreted_subclasses=True)
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


@mypyc_attr(allow_interpreted_subclasses=True)
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
        if self._by_speed and all(state.speed_known(now) for state in instances):
            targets = _Targets(self._view, request, now)
            return min(instances, key=lambda s: targets.loss(s, prompt))
        return min(instances, key=lambda s: (_work(s, request, prompt, now), s.last_dispatch))


@mypyc_attr(allow_interpreted_subclasses=True)
class LeastStall:
    """The least time that an engine's streams will be held up: prefill seconds x (streams + 1).

    Prefill is what waits there and what the request adds, by what is learned of each engine's
    steps, so a prompt follows its cached beginning for as long as the way there is shorter than
    prefilling it elsewhere. Until all steps are known, and for embeddings, as LeastWork.
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
        """Return the one where the fewest stream seconds are lost."""
        assert self._view is not None
        if len(instances) == 1:
            return instances[0]
        prompt = self._view.prompt(request)
        best, least = instances[0], float("inf")
        for state in instances:
            stalls = state.stalls
            steps = stalls.steps
            if not steps.ready:
                return self._work.choose(request, instances, now)
            new = state.uncached(request, prompt) if request.prefix else prompt
            waiting = stalls.given - stalls.done
            seconds = waiting + steps.prefill(new, prompt - new) + steps.step(state.tokens)
            lost = seconds * (state.batch(now) + 1)
            if lost < least or (lost == least and state.last_dispatch < best.last_dispatch):
                best, least = state, lost
        return best


@mypyc_attr(allow_interpreted_subclasses=True)
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
        targets = _Targets(self._view, request, now)
        capable = [s for s in instances if not s.speed_known(now) or not targets.loss(s, prompt)[0]]
        if capable:
            least = min(state.spec.cost for state in capable)
            capable = [state for state in capable if state.spec.cost == least]
        return self._work.choose(request, capable or instances, now)


class _Targets:
    """What a request must meet, for a look at one instance after the other."""

    __slots__ = ("_left", "_now", "_request", "_tpot")

    def __init__(self, view: View, request: Request, now: float) -> None:
        slo = view.slo(request)
        self._request = request
        self._now = now
        self._tpot = self._left = float("inf")
        if slo is not None:
            if slo.tpot_s is not None:
                self._tpot = slo.tpot_s
            for target in (slo.ttft_s, slo.deadline_s):
                if target is not None:
                    self._left = min(self._left, request.arrived + target - now)

    def loss(self, state: InstanceState, prompt: int) -> tuple[bool, float, int]:
        """Return what an instance of known speed is judged by: the smallest is the best.

        Whether it would miss a target, its work in seconds times its batch, its last dispatch.
        """
        model = state.latency
        batch = state.batch(self._now) + 1
        first = model.ttft(state.uncached(self._request, prompt) + state.prefill)
        misses = model.margin * first > self._left or (
            self._tpot < float("inf") and model.step(batch) > self._tpot
        )
        return misses, first * batch, state.last_dispatch


def _work(state: InstanceState, request: Request, prompt: int, now: float) -> float:
    return (state.uncached(request, prompt) + state.prefill) * (state.batch(now) + 1)
