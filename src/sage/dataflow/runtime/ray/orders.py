"""What the driver and the actors tell each other."""

from __future__ import annotations

from dataclasses import dataclass

from sage.dataflow.checkpoint.resumption import Resumption
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.meter import Meter, Traffic
from sage.dataflow.plan import Stage
from sage.dataflow.runtime.failure import Failure
from sage.dataflow.runtime.ray.outbox import News
from sage.dataflow.services import Registration


@dataclass(frozen=True, slots=True)
class Versions:
    """What must be the same on both sides.

    Attributes:
        python: as in "3.11".
        sage: of the package.
    """

    python: str
    sage: str


@dataclass(frozen=True, slots=True)
class Order:
    """What an actor is to run.

    Attributes:
        stage: what the plan says.
        index: the replica's number.
        config: sizes of batches and channels.
        profile: measure every batch operator by operator.
        registrations: how services are made.
        producers: how many actors send to it; 0 for a source.
        checkpointed: whether checkpoints are taken.
        resumption: what the stage goes on from; None where it begins anew.
        window: bytes that may be under way to each inbox.
    """

    stage: Stage
    index: int
    config: EnvironmentConfig
    profile: bool
    registrations: tuple[Registration, ...]
    producers: int
    checkpointed: bool
    resumption: Resumption | None
    window: int


@dataclass(frozen=True, slots=True)
class Hello:
    """An actor that has a process.

    Attributes:
        versions: its own.
        node: Ray's id of its node.
        address: of that.
        pid: of its process.
        failure: why it cannot be used after all.
    """

    versions: Versions
    node: str
    address: str
    pid: int
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a replica stands.

    Attributes:
        meters: of each operator.
        traffic: of each operator.
        metrics: each operator's counters of the user's own.
        queued: records that wait before it.
        leaving: records that are on their way to other stages, by the stage's id.
        extent: how much a source has given and will have given; None where it is not known.
        news: what has happened since the last report.
        over: whether it has ended; there will be no more reports.
    """

    meters: list[Meter]
    traffic: list[Traffic]
    metrics: list[dict[str, int]]
    queued: int
    leaving: dict[int, int]
    extent: tuple[float, float] | None
    news: News
    over: bool
