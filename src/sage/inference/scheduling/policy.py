"""What a scheduling policy is: an ordering of those that wait, and a placement.

A policy holds no requests and does no I/O. The scheduler asks its ordering for a rank when a
request starts to wait and again when it comes to the head, and its placement for an instance
among those that have a free slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.request import Request
from sage.inference.scheduling.slo import SLO

Rank = tuple[float, ...]
"""Sort key among waiting requests: the smallest goes first, and equals go as they arrived."""


class Ordering(Protocol):
    """Decides which waiting request goes next."""

    def rank(self, request: Request, now: float) -> Rank:
        """Return the request's rank at ``now``.

        A request's rank may grow as time passes but never shrink: the scheduler re-ranks a
        request only when it reaches the head of its queue.
        """
        ...


class Placement(Protocol):
    """Decides which instance serves a request."""

    def choose(
        self, request: Request, instances: Sequence[InstanceState], now: float
    ) -> InstanceState | None:
        """Return one of ``instances``, or None to hold the request until the next event.

        Args:
            request: what is to be placed.
            instances: those that serve its model, are up and have a free slot; never empty.
            now: seconds of the caller's clock.
        """
        ...


class View(Protocol):
    """What a policy may ask of the scheduler it works for."""

    @property
    def seed(self) -> int:
        """What a policy's random choices start from."""
        ...

    def slo(self, request: Request) -> SLO | None:
        """Return what the request must meet: its own SLO, its class's, or its tenant's."""
        ...

    def prompt(self, request: Request) -> int:
        """Return the request's prompt tokens, corrected by what engines have reported."""
        ...

    def start_times(self, request: Request, now: float) -> tuple[float, float, float]:
        """Return by when it must be dispatched to meet its SLO, and when that is due.

        The first is cautious: the SLO's end less the predicted time to the first token at the
        fastest instance, times the measured P95 of that prediction's error. The second is without
        that P95: later dispatches miss more often than not. All are infinite without an SLO.
        """
        ...

    def pressure(self) -> float:
        """Return waiting requests over the slots of the instances that are up."""
        ...

    def attainment(self, now: float) -> float | None:
        """Return the share of the latest requests that met their SLO; None without any lately."""
        ...


class Completion(NamedTuple):
    """How a request was served.

    Attributes:
        request: which.
        ttft: seconds from dispatch to its first token; None where it was not streamed.
        seconds: from dispatch to its end.
        tokens: generated; 0 when not known.
    """

    request: Request
    ttft: float | None
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """An ordering and a placement under one name, and what the scheduler does for them.

    Attributes:
        name: what users write.
        ordering: decides who goes next.
        placement: decides where to.
        paced: whether prompts are held back from an instance with half a chunk to prefill, or a
            whole one where it guards.
        guards: whether a prompt is held back from an instance whose streams would break their
            TPOT by it.
        triages: whether, when not all that wait can be in time, those are given up whose work
            keeps the most others late; they are served when nothing else waits.
        fair: whether tenants take turns by the tokens they were served. They do under every
            policy once the scheduler was given tenants.
        sheds: whether requests that cannot meet their deadline are rejected, and a full queue
            drops the hopeless and the low in priority for a newcomer.
        reserved: share of an instance's slots that a request may not take, 0 to 1.
        bind: called once with the view, before anything else.
        review: called about once a second; True when the ordering has changed its mind, so
            that those who wait are ranked again.
        completed: called with each request served.
    """

    name: str
    ordering: Ordering
    placement: Placement
    paced: bool = False
    guards: bool = False
    triages: bool = False
    fair: bool = False
    sheds: bool = False
    reserved: Callable[[Request], float] | None = None
    bind: Callable[[View], None] | None = None
    review: Callable[[float], bool] | None = None
    completed: Callable[[InstanceState, Completion], None] | None = None


PolicyFactory = Callable[[], SchedulingPolicy]

_factories: dict[str, tuple[PolicyFactory, str]] = {}


def register_policy(name: str, factory: PolicyFactory, *, description: str) -> None:
    """Make a policy known by name.

    Args:
        name: what users write.
        factory: makes a fresh policy; policies may hold state, so none is shared.
        description: one sentence for listings.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _factories:
        raise ConfigError(f"a scheduling policy named {name!r} is registered already")
    _factories[name] = (factory, description)


def make_policy(name: str) -> SchedulingPolicy:
    """Return a fresh policy of that name, or raise UnknownKeyError naming the nearest."""
    try:
        factory, _ = _factories[name]
    except KeyError:
        raise UnknownKeyError(name, _factories, where="scheduling policy") from None
    return factory()


def policy_descriptions() -> dict[str, str]:
    """Return the registered names with a sentence each, sorted by name."""
    return {name: _factories[name][1] for name in sorted(_factories)}
