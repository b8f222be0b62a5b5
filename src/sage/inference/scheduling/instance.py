"""What the scheduler knows of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.errors import ConfigError
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One engine that can be given work.

    Attributes:
        id: unique among the instances.
        kind: what it serves.
        models: the model names it answers to; at least one.
        max_requests: how many requests it may hold at once; the rest wait in the scheduler.

    Raises:
        ConfigError: an empty id, no model, one named twice, or a limit below one.
    """

    id: str
    kind: Kind
    models: tuple[str, ...]
    max_requests: int = 256

    def __post_init__(self) -> None:
        if not self.id:
            raise ConfigError("an instance needs an id; it is empty")
        if not self.models or not all(self.models):
            raise ConfigError(f"instance {self.id!r} needs model names; it has {self.models!r}")
        if len(set(self.models)) < len(self.models):
            raise ConfigError(f"instance {self.id!r} names a model twice: {self.models!r}")
        if self.max_requests < 1:
            raise ConfigError(
                f"instance {self.id!r}: max_requests is {self.max_requests}; it must be at least 1"
            )


@dataclass(slots=True, eq=False)
class InstanceState:
    """An instance and the work it holds.

    Counts are of attempts, and obey: dispatched = done + failed + cancelled + len(running).

    Attributes:
        spec: what it is.
        up: whether it may be given work.
        reason: why it is down; empty while it is up.
        running: ids of the requests it holds.
        last_dispatch: number of the scheduler's dispatch that last went here; 0 for never.
    """

    spec: InstanceSpec
    up: bool = True
    reason: str = ""
    running: set[int] = field(default_factory=set)
    dispatched: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    last_dispatch: int = 0

    @property
    def open(self) -> bool:
        """Whether it is up and holds fewer requests than it may."""
        return self.up and len(self.running) < self.spec.max_requests
