"""Where the replicas of a job hand in their state."""

from __future__ import annotations

from typing import Protocol

from sage.dataflow.checkpoint.gathering import Part, States
from sage.dataflow.control import Barrier


class Saving(Protocol):
    """Takes the state of replicas, in their process.

    Attributes:
        barrier: the one that every source is to have sent.
    """

    barrier: Barrier | None

    def save(self, part: Part, barrier: Barrier, states: States) -> None:
        """Take a replica's state at a barrier."""

    def end(self, part: Part, states: States) -> None:
        """Take the last state of a replica whose input has ended."""
