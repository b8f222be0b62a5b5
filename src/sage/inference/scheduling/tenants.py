"""Fairness between tenants: whoever has been served least, by weight, goes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sage.errors import ConfigError
from sage.inference.scheduling.slo import SLO

_KEEP = 4096


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a tenant is entitled to.

    Attributes:
        weight: its share relative to the others, above 0.
        slo: for its requests that bring none and whose class has none.

    Raises:
        ConfigError: a weight that is not above 0.
    """

    weight: float = 1.0
    slo: SLO | None = None

    def __post_init__(self) -> None:
        if not self.weight > 0.0:
            raise ConfigError(f"a tenant's weight is {self.weight}; it must be above 0")


class TokenCounters:
    """Virtual token counters (Sheng et al., OSDI 2024): tokens served to each, over its weight.

    A tenant that comes back after a pause is level with those being served as soon as it is
    served once, so idleness saves up no credit. Counters that say no more than that are
    forgotten beyond 4,096 tenants.

    Args:
        tenants: by name, a Tenant or its weight alone; others weigh 1.
    """

    __slots__ = ("_counters", "_level", "tenants")

    def __init__(self, tenants: Mapping[str, Tenant | float] | None = None) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.name_tenants(tenants or {})
        self._counters: dict[str, float] = {}
        self._level = 0.0

    def name_tenants(self, tenants: Mapping[str, Tenant | float]) -> None:
        """Tell these apart from others from now on; what each was served stays counted."""
        self.tenants.clear()
        for name, item in tenants.items():
            self.tenants[name] = item if isinstance(item, Tenant) else Tenant(item)

    def counter(self, name: str) -> float:
        """Return a tenant's virtual tokens."""
        return self._counters.get(name, 0.0)

    def serves(self, name: str, tokens: int, *, chosen: bool) -> None:
        """Charge a tenant for tokens; ``chosen`` when it was picked among those that wait."""
        before = self._counters.get(name, 0.0)
        if chosen:
            self._level = max(self._level, before)
        self._counters[name] = max(before, self._level) + tokens / self._weight(name)
        if len(self._counters) > _KEEP:
            self._forget()

    def corrects(self, name: str, tokens: int) -> None:
        """Add what a request needed beyond what was charged; negative when it needed less."""
        if name in self._counters:
            self._counters[name] += tokens / self._weight(name)

    def _weight(self, name: str) -> float:
        tenant = self.tenants.get(name)
        return 1.0 if tenant is None else tenant.weight

    def _forget(self) -> None:
        level = self._level
        self._counters = {name: count for name, count in self._counters.items() if count > level}
