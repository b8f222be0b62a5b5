"""What a node is asked to run, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import SageError
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.spec import EngineSpec
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class Need:
    """What one engine takes of its node.

    Attributes:
        cpus: CPUs, as Ray counts them.
        gpus: GPUs; below 1, a share of one.
    """

    cpus: float
    gpus: float

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU{_s(self.gpus)}" if self.gpus else ""
        return f"{self.cpus:g} CPU{_s(self.cpus)}{gpus}"


def _s(count: float) -> str:
    return "" if count == 1 else "s"


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """One engine to run on any node that has room: the node finds the model and a port itself.

    Attributes:
        id: its name among the instances.
        kind: what it shall do.
        model: as ``--model`` takes it; None is the packaged default.
        engine: which program.
        options: of the engine.
        need: what it takes of its node.
        engines: how many engines of the model may share a node's memory.
        stack: names the stack that it belongs to, for its log on the node.
        home: addresses of the machine with the gateway; an engine on that very machine listens on
            the loopback address alone.
        version: of SAGE, which the node must have too.
    """

    id: str
    kind: Kind
    model: str | None
    engine: EngineKind
    options: EngineOptions
    need: Need
    engines: int
    stack: str
    home: frozenset[str]
    version: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An engine that was started on a node.

    Attributes:
        spec: what runs, with its address.
        pid: on its node.
        started: when, in seconds since the epoch by its node's clock.
        log_start: byte of its log on the node at which this run's lines begin.
    """

    spec: EngineSpec
    pid: int | None
    started: float | None
    log_start: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A node's no: the message and the kind of error it would be on one machine."""

    message: str
    error: type[SageError]
