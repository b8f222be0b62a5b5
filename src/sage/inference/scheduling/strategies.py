"""Every scheduling strategy there is, for listings and for benchmarks."""

from __future__ import annotations

from typing import NamedTuple

from sage.inference.scheduling import policies as _registered  # noqa: F401 - importing registers
from sage.inference.scheduling.policy import SchedulingPolicy, make_policy, policy_descriptions
from sage.inference.scheduling.policy_types import SchedulingPolicyType


class Strategy(NamedTuple):
    """A policy's name, and a sentence about it."""

    name: str
    description: str


class StrategyAdapter:
    """Lists the registered policies and makes them by name."""

    @staticmethod
    def list() -> list[Strategy]:
        """Return them all: SAGE's own, then baselines and users'; each by name."""
        own = {item.value for item in SchedulingPolicyType}
        found = [Strategy(*item) for item in policy_descriptions().items()]
        return sorted(found, key=lambda item: (item.name not in own, item.name))

    @staticmethod
    def create(name: str) -> SchedulingPolicy:
        """Return a fresh policy, or raise UnknownKeyError naming the nearest."""
        return make_policy(name)
