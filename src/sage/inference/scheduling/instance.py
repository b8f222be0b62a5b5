"""What the scheduler knows of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One engine that can be given work.

    Attributes:
        id: unique among the instances.
        kind: what it serves.
        models: the model names it answers to.
        max_requests: how many requests it may hold at once; the rest wait in the scheduler.
    """

    id: str
    kind: Kind
    models: tuple[str, ...]
    max_requests: int = 256


@dataclass(slots=True)
class InstanceState:
    """An instance and the work it holds.

    Counts obey: dispatched = done + failed + cancelled + len(running).
    """

    spec: InstanceSpec
    up: bool = True
    running: set[int] = field(default_factory=set)
    dispatched: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
