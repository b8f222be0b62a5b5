"""The checkpointer as an actor knows it."""

from __future__ import annotations

from sage.dataflow.checkpoint.gathering import Part, States
from sage.dataflow.control import Barrier
from sage.dataflow.runtime.ray.outbox import Outbox


class FarCheckpoints:
    """Takes the replica's state for the checkpointer, which is in the driver.

    Args:
        outbox: by which it gets there.

    Attributes:
        barrier: as the driver last said.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.barrier: Barrier | None = None
        self._outbox = outbox

    def save(self, part: Part, barrier: Barrier, states: States) -> None:  # noqa: ARG002 - the driver knows the part by its actor
        """Take the state at a barrier."""
        self._outbox.saved(barrier, states)

    def end(self, part: Part, states: States) -> None:  # noqa: ARG002 - as above
        """Take the last state."""
        self._outbox.ended(states)
