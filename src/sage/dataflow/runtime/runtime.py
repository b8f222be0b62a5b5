"""What runs a plan: the seam behind which threads, processes or a cluster lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sage.dataflow.replica import OperatorReplica


class Runtime(Protocol):
    """Runs a plan once."""

    @property
    def operators(self) -> list[OperatorReplica]:
        """Every operator's replicas."""

    @property
    def error(self) -> BaseException | None:
        """What stopped the job, if anything did."""

    @property
    def blocking(self) -> bool:
        """Whether `start` returns only when the job has ended, for want of threads of its own."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""

    def worker_pids(self) -> list[int]:
        """Return the ids of the worker processes."""

    def queued(self) -> Mapping[int, int]:
        """Return how many records wait before an operator, by its id in the graph."""

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on; what they have given flows through."""

    def fail(self, error: BaseException) -> None:
        """End the job with an error, unless one has ended it already."""

    def start(self) -> None:
        """Start the job."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; say whether it has come."""

    def stop(self) -> None:
        """Let the sources end; what they have given flows through."""

    def cancel(self) -> None:
        """Stop at once: records on their way are abandoned."""

    def signalled(self) -> None:
        """Let the sources of a blocking job end; a signal handler calls it, so it takes no lock."""

    def interrupt(self) -> None:
        """Raise `Terminated` in a blocking job; a signal handler in the job's thread calls it."""

    def abandon(self) -> tuple[str, ...]:
        """Go on without what has not returned after `cancel`; return the names of its threads."""
