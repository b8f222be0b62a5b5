"""What every runtime that holds a plan's replicas says of them."""

from __future__ import annotations

from collections.abc import Sequence

from sage.dataflow.replica import OperatorReplica
from sage.dataflow.stage import StageReplica


class Replicas:
    """Base of such runtimes.

    Args:
        replicas: every stage's replicas.
    """

    def __init__(self, replicas: Sequence[Sequence[StageReplica]]) -> None:
        self._replicas = replicas

    @property
    def operators(self) -> list[OperatorReplica]:
        """Every operator's replicas."""
        return [op for stage in self._replicas for replica in stage for op in replica.operators]

    def worker_pids(self) -> list[int]:
        """Return the ids of the worker processes."""
        return [
            replica.pid for stage in self._replicas for replica in stage if replica.pid is not None
        ]
