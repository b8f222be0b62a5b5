"""What a scheduling policy is: an ordering of those that wait, and a placement.

A policy holds no requests and does no I/O. The scheduler asks its ordering for a rank when a
request starts to wait and again when it comes to the head, and its placement for an instance
among those that have a free slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.request import Request

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


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """An ordering and a placement under one name."""

    name: str
    ordering: Ordering
    placement: Placement


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
