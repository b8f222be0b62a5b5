"""A sweep as a state machine: it says which run comes next and is told what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sage.benchmark.sweep.axis import Axis
from sage.benchmark.sweep.outcome import Figures, Outcome, Point, knees_of, levels_of
from sage.benchmark.sweep.search import GivenValues, KneeSearch, Search
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What a sweep is to do.

    Attributes:
        axis: what is varied.
        policies: that take turns; None is the one in force.
        seeds: of the runs; each policy meets each of them.
        values: to try; None looks for the knee.
        target: attainment that the knee keeps, above 0 up to 1.
        start: where a search for the knee begins.
        resolution: how near a search comes to the knee, as a share of it.

    Raises:
        ConfigError: a value out of range, or a knee looked for where more is not more load.
    """

    axis: Axis
    policies: tuple[str | None, ...]
    seeds: tuple[int, ...]
    values: tuple[float, ...] | None = None
    target: float = 0.9
    start: float = 1.0
    resolution: float = 0.02

    def __post_init__(self) -> None:
        if not self.policies or not self.seeds:
            raise ConfigError("a sweep needs at least one policy and one seed")
        if not 0 < self.target <= 1:
            raise ConfigError(f"attainment is {self.target}; it must be above 0 and at most 1")
        if self.values is None and not self.axis.load:
            raise ConfigError(
                f"{self.axis.name} has no knee to look for; say which values to try: --values"
            )
        if self.values is not None:
            self._check_values(self.values)

    def _check_values(self, values: Sequence[float]) -> None:
        if not values:
            raise ConfigError("a sweep needs at least one value, or auto")
        if len(set(values)) < len(values):
            raise ConfigError(f"values names one twice: {', '.join(f'{v:g}' for v in values)}")
        if bad := [value for value in values if not (math.isfinite(value) and value >= 0)]:
            raise ConfigError(f"values has {bad[0]}; each must be at least 0")

    def search(self) -> Search:
        """Return what chooses the values for one policy and seed."""
        if self.values is not None:
            return GivenValues(sorted(self.values))
        return KneeSearch(self.start, resolution=self.resolution, whole=self.axis.whole)


@dataclass(frozen=True, slots=True)
class Turn:
    """The run that comes next."""

    policy: str | None
    value: float
    seed: int


@dataclass(slots=True)
class Sweep:
    """Runs the plan, seed by seed; within one the policies take turns, value by value.

    So drift falls on all policies alike, and at each value they meet the same requests at the same
    moments. Each seed begins with another policy.
    """

    plan: SweepPlan
    _points: list[Point] = field(default_factory=list)
    _searches: dict[str | None, Search] = field(init=False)
    _round: int = 0
    _place: int = 0

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._searches = {policy: self.plan.search() for policy in self.plan.policies}
        self._place = self._round % len(self.plan.policies)

    def next(self) -> Turn | None:
        """Return the run to do, the same until it is told; None when all are done."""
        while self._round < len(self.plan.seeds):
            for _ in self.plan.policies:
                policy = self.plan.policies[self._place]
                value = self._searches[policy].next()
                if value is not None:
                    return Turn(policy, value, self.plan.seeds[self._round])
                self._pass_on()
            self._round += 1
            self._begin()
        return None

    def _pass_on(self) -> None:
        self._place = (self._place + 1) % len(self.plan.policies)

    def tell(self, classes: dict[str, Figures], *, policy: str | None, valid: bool) -> Point:
        """Take the figures of the run last asked for, and return them as they will be listed.

        Args:
            classes: figures by class, of all classes together last, of a run to its end.
            policy: in force while it ran, also where the plan leaves it open.
            valid: whether the client kept up.
        """
        turn = self.next()
        assert turn is not None
        point = Point(policy, turn.value, turn.seed, valid, classes)
        self._points.append(point)
        kept = point.overall.attainment >= self.plan.target
        self._searches[turn.policy].tell(turn.value, kept)
        self._pass_on()
        return point

    def expected(self) -> int:
        """Return about how many runs it will have been in all."""
        if self.next() is None:
            return len(self._points)
        left = sum(search.left() for search in self._searches.values())
        later = max(0, len(self.plan.seeds) - self._round - 1) * len(self.plan.policies)
        return len(self._points) + left + later * max(1, self._longest())

    def _longest(self) -> int:
        first = self.plan.seeds[0]
        done = sum(point.seed == first for point in self._points) if self._round else 0
        return max(self.plan.search().left(), math.ceil(done / len(self.plan.policies)))

    def outcome(self) -> Outcome:
        """Return what was found so far."""
        axis = self.plan.axis
        knees = knees_of(self._points, self.plan.target) if axis.load else ()
        return Outcome(
            axis=axis.name,
            unit=axis.unit,
            target=self.plan.target,
            complete=self.next() is None,
            valid=all(point.valid for point in self._points),
            points=tuple(self._points),
            levels=levels_of(self._points),
            knees=knees,
        )
