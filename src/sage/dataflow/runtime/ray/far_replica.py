"""A replica as the driver knows it: what its actor reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sage.dataflow.checkpoint.gathering import Part
from sage.dataflow.graph import Kind
from sage.dataflow.lifecycle import Finite
from sage.dataflow.plan import Stage
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.runtime.failure import Failure
from sage.dataflow.runtime.ray.link import Route
from sage.dataflow.runtime.ray.orders import Hello, Report
from sage.errors import OperatorError

logger = logging.getLogger("sage.dataflow")


class Extent(Finite):
    """How much of a source's input has been given, elsewhere."""

    def __init__(self) -> None:
        self.extent: tuple[float, float] | None = None

    def progress(self) -> tuple[float, float] | None:
        """Return how much it has given and will have given; None when not known."""
        return self.extent


class FarReplica:
    """Stands for a replica in an actor.

    Args:
        stage: what the plan says.
        index: its number.

    Attributes:
        operators: with the counts that were reported last.
        actor: Ray's handle; None before it is placed.
        queued: records that wait before it.
        leaving: records on their way to other stages, by the stage's id.
        over: whether it has ended, or never began.
    """

    def __init__(self, stage: Stage, index: int) -> None:
        self.stage = stage
        self.index = index
        self.operators = [OperatorReplica(node, None, index) for node in stage.nodes]
        self.actor: Any = None
        self.queued = 0
        self.leaving: dict[int, int] = {}
        self.over = True
        self._hello: Hello | None = None
        self._extent = Extent()
        if self.operators[0].kind is Kind.SOURCE:
            self.operators[0].target = self._extent

    @property
    def name(self) -> str:
        """The replica's name, for messages."""
        return f"{self.stage.name}[{self.index}]"

    @property
    def part(self) -> Part:
        """Which part of a checkpoint is its."""
        return Part(self.stage.id, self.index)

    @property
    def sends_barriers(self) -> bool:
        """Whether checkpoints begin at it."""
        return not self.stage.inputs or bool(self.stage.loop)

    def greet(self, hello: Hello) -> None:
        """Take note of who runs it.

        Raises:
            ClusterError: it cannot be run there.
        """
        self._hello = hello
        logger.debug("%s runs on %s, process %d", self.name, hello.address, hello.pid)
        self._check(hello.failure)

    def prepared(self, failure: Failure | None) -> None:
        """Take note that it is made.

        Raises:
            DataflowError: it could not be.
        """
        self._check(failure)
        self.over = False

    def _check(self, failure: Failure | None) -> None:
        if failure is not None:
            raise failure.error(self.stage.name)

    def begin(self, routes: Sequence[Route]) -> None:
        """Let the actor begin."""
        self.actor.begin.remote(routes)

    def learn(self, report: Report) -> None:
        """Take over what the actor reports."""
        for operator, meter, traffic, metrics in zip(
            self.operators, report.meters, report.traffic, report.metrics, strict=True
        ):
            operator.meter = meter
            operator.traffic = traffic
            operator.context.metrics.replace(metrics)
        self.queued, self.leaving = report.queued, report.leaving
        self._extent.extent = report.extent
        self.over = report.over

    def death(self, error: BaseException) -> OperatorError:
        """Return what the death of its actor is to the job."""
        self.over = True
        where = "its actor"
        if self._hello is not None:
            where = f"its actor on {self._hello.address}, process {self._hello.pid},"
        reason = " ".join(str(error).split("\n")[-1].split()) or type(error).__name__
        return OperatorError(self.stage.name, "<batch>", RuntimeError(f"{where} died: {reason}"))
