"""What is to be expected of a request: its SLO, its tokens, and when it must start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sage.inference.scheduling.estimators import TokenEstimator
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.statistics import Statistics
from sage.inference.scheduling.tenants import TokenCounters

NEVER = float("inf")

_REFRESH = 1.0
_TYPICAL_PROMPT = 512


@dataclass(slots=True)
class _Pace:
    """The fastest instance of a model, as learned: seconds, and when that was looked up.

    Attributes:
        per_token: for each token guessed of the prompt, as corrected for the model.
    """

    at: float
    constant: float = 0.0
    per_token: float = 0.0
    margin: float = 1.0
    step: float = 0.0


class Forecast:
    """The scheduler as policies see it (``policy.View``).

    Args:
        fleet: the instances.
        estimator: of tokens.
        counters: knows the tenants.
        statistics: what was measured.
        slo_classes: SLOs by class name.
        seed: of random choices.
    """

    def __init__(
        self,
        fleet: Fleet,
        estimator: TokenEstimator,
        counters: TokenCounters,
        statistics: Statistics,
        *,
        slo_classes: Mapping[str, SLO],
        seed: int,
    ) -> None:
        self._fleet = fleet
        self._estimator = estimator
        self._tenants = counters.tenants
        self._statistics = statistics
        self._classes = dict(slo_classes)
        self._seed = seed
        self._paces: dict[tuple[Kind, str], _Pace] = {}

    @property
    def seed(self) -> int:
        """What a policy's random choices start from."""
        return self._seed

    def slo(self, request: Request) -> SLO | None:
        """Return the request's own SLO, its class's, or its tenant's."""
        if request.slo is not None:
            return request.slo
        if self._classes:
            slo = self._classes.get(request.cls or request.kind.value)
            if slo is not None:
                return slo
        if self._tenants and (tenant := self._tenants.get(request.tenant)) is not None:
            return tenant.slo
        return None

    def prompt(self, request: Request) -> int:
        """Return the request's prompt tokens, corrected by what engines have reported."""
        return self._estimator.prompt(request.model, request.prompt_tokens)

    def output(self, request: Request) -> int:
        """Return how many tokens it will likely generate; 0 for embeddings."""
        if request.kind is Kind.EMBEDDING:
            return 0
        return self._estimator.output(
            request.model, request.tenant, self.prompt(request), request.expected_tokens
        )

    def start_times(self, request: Request, now: float) -> tuple[float, float, float]:
        """Return by when it must be dispatched to meet its SLO, and when that is due.

        Cautiously, by the measured P95 of the prediction; by the prediction; and the SLO's end.
        """
        slo = request.slo or self.slo(request)
        if slo is None:
            return NEVER, NEVER, NEVER
        # Looked up here: ranking those that wait asks this several times a decision.
        pace = self._paces.get((request.kind, request.model))
        if pace is None or now - pace.at > _REFRESH:
            pace = self._pace(request, now)
        first = pace.constant + pace.per_token * request.prompt_tokens
        cautious = chance = due = NEVER
        ttft, deadline = slo.ttft_s, slo.deadline_s
        if ttft is not None:
            due = request.arrived + ttft
            cautious, chance = due - pace.margin * first, due - first
        if deadline is not None:
            end = request.arrived + deadline
            decode = pace.step * self.output(request) if pace.step else 0.0
            due = min(due, end)
            cautious = min(cautious, end - pace.margin * first - decode)
            chance = min(chance, end - first - decode)
        return cautious, chance, due

    def limits(self, request: Request, now: float) -> tuple[float, float]:
        """Return until when a dispatch still meets its SLO, and until when its deadline.

        The first is cautious, as for ordering. The second is generous, for turning away: half the
        tokens expected, at the best speed.
        """
        soonest = self.start_times(request, now)[0]
        slo = self.slo(request)
        if slo is None or slo.deadline_s is None:
            return soonest, NEVER
        pace = self._pace(request, now)
        first = pace.constant + pace.per_token * request.prompt_tokens
        half = 0.5 * pace.step * self.output(request) if pace.step else 0.0
        return soonest, request.arrived + slo.deadline_s - first - half

    def pressure(self) -> float:
        """Return waiting requests over the slots of the instances that are up."""
        waiting = sum(group.waiting for group in self._fleet.groups.values())
        slots = sum(s.spec.max_requests for s in self._fleet.instances.values() if s.up)
        return waiting / max(1, slots)

    def attainment(self, now: float) -> float | None:
        """Return the share of the latest requests that met their SLO; None without any lately."""
        return self._statistics.attainment(now)

    def _pace(self, request: Request, now: float) -> _Pace:
        key = (request.kind, request.model)
        pace = self._paces.get(key)
        if pace is None or now - pace.at > _REFRESH:
            pace = self._paces[key] = self._look_up(key, now)
        return pace

    def _look_up(self, key: tuple[Kind, str], now: float) -> _Pace:
        group = self._fleet.groups.get(key)
        states = [] if group is None else [s for s in group.instances if s.up and s.latency.ready]
        if not states:
            return _Pace(now)
        state = min(states, key=lambda state: state.latency.ttft(_TYPICAL_PROMPT))
        best = state.latency
        # Texts that someone waits for overtake the bulk that is ahead of them.
        ahead = 0.0 if key[0] is Kind.EMBEDDING else state.ahead
        constant = best.constant + best.prefill_per_token * ahead
        per_token = best.prefill_per_token * self._estimator.correction(key[1])
        return _Pace(now, constant, per_token, best.margin, best.step(1.0))
