"""What the replicas of a job go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.dataflow.plan import Stage


class Resumption:
    """Gives each replica of a job its part of a checkpoint.

    Args:
        snapshot: of the same graph.
    """

    def __init__(self, snapshot: JobSnapshot) -> None:
        self.number = snapshot.number
        self._snapshot = snapshot
        self._operators = snapshot.operators

    def of(self, stage: Stage) -> Resumption:
        """Return what one stage goes on from, to be sent where it runs."""
        operators = {node.name: self._operators[node.name] for node in stage.nodes}
        return Resumption(replace(self._snapshot, operators=operators))

    def finished(self, stage: Stage, index: int) -> bool:
        """Say whether a replica's input had ended, so that it has nothing more to do."""
        replicas = self._replicas(stage)[0]
        if len(replicas) == stage.parallelism:
            return replicas[index].finished
        return all(replica.finished for replica in replicas)

    def states(self, stage: Stage) -> Mapping[str, Sequence[bytes]]:
        """Return the state of each operator of a stage, of all the replicas that there were."""
        return {
            node.name: [replica.state for replica in replicas]
            for node, replicas in zip(stage.nodes, self._replicas(stage), strict=True)
        }

    def _replicas(self, stage: Stage) -> list[Sequence[ReplicaSnapshot]]:
        return [self._operators[node.name] for node in stage.nodes]
