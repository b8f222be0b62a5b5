"""Gathers the state of all replicas of a job for one checkpoint after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sage.dataflow.checkpoint.snapshot import ReplicaSnapshot

States = Mapping[str, bytes]


class Part(NamedTuple):
    """One replica of a stage.

    Attributes:
        stage: the stage's id.
        replica: its number.
    """

    stage: int
    replica: int


class Gathering:
    """Knows which replicas have saved their state for the checkpoint that is under way.

    A replica whose input has ended counts for all checkpoints to come, with its last state.

    Args:
        parts: all replicas of the job.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)
        self._saved: dict[Part, States] = {}
        self._ended: dict[Part, States] = {}
        self._number: int | None = None

    def begin(self, number: int) -> None:
        """Begin a checkpoint; what is still under way is given up."""
        self._number = number
        self._saved.clear()

    def save(self, part: Part, number: int, states: States) -> None:
        """Take a replica's state at the barrier of a checkpoint."""
        if number == self._number:
            self._saved[part] = states

    def end(self, part: Part, states: States) -> None:
        """Take the last state of a replica whose input has ended.

        One that has saved its state before goes into the checkpoint under way with that.
        """
        self._ended[part] = states

    @property
    def missing(self) -> tuple[Part, ...]:
        """The replicas that the checkpoint under way waits for."""
        return tuple(
            part for part in self._parts if part not in self._saved and part not in self._ended
        )

    @property
    def ended(self) -> bool:
        """Whether the input of every replica has ended."""
        return len(self._ended) == len(self._parts)

    def snapshots(self) -> dict[str, tuple[ReplicaSnapshot, ...]]:
        """Return the state of all, nothing being missing: by operator, in the replicas' order."""
        gathered: dict[str, list[ReplicaSnapshot]] = {}
        for part in sorted(self._parts):
            saved = self._saved.get(part)
            for name, state in (self._ended[part] if saved is None else saved).items():
                gathered.setdefault(name, []).append(ReplicaSnapshot(state, saved is None))
        self._number = None
        self._saved.clear()
        return {name: tuple(replicas) for name, replicas in gathered.items()}
