"""What a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sage.dataflow.checkpoint.signature import OperatorSignature


@dataclass(frozen=True, slots=True)
class ReplicaSnapshot:
    """One replica of an operator at a barrier.

    Attributes:
        state: what it needs to go on from there, pickled by the replica.
        finished: whether its input had ended.
    """

    state: bytes
    finished: bool = False


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A whole job at a barrier.

    Attributes:
        number: of the checkpoint, from 1.
        time: when the barrier was sent, in seconds since the epoch.
        graph: the operators as they were then.
        operators: by an operator's name, its replicas in order.
    """

    number: int
    time: float
    graph: tuple[OperatorSignature, ...]
    operators: Mapping[str, tuple[ReplicaSnapshot, ...]]
