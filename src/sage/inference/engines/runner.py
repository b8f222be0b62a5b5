"""What the supervisor keeps alive: an engine, wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sage.inference.engines.spec import EngineSpec


class EngineRunner(Protocol):
    """Runs one engine, again and again: here as a process, or on a cluster.

    Attributes:
        log: file on this machine with what the engine prints.
    """

    log: Path

    @property
    def spec(self) -> EngineSpec:
        """What runs and where; its address may be another one after each start."""
        ...

    @property
    def pid(self) -> int | None:
        """The engine's pid on its machine while it runs."""
        ...

    @property
    def started(self) -> float | None:
        """When it was started, in seconds since the epoch by its machine's clock, while it runs."""
        ...

    @property
    def node(self) -> str | None:
        """The cluster's node that it runs on; None for this machine's supervisor."""
        ...

    @property
    def note(self) -> str:
        """What a person should know of it now, such as what it waits for; empty for nothing."""
        ...

    async def start(self) -> None:
        """Start the engine; it need not be healthy yet.

        Raises:
            SageError: it cannot be started.
        """
        ...

    async def ended(self) -> str:
        """Wait for the engine's end and say how it ended."""
        ...

    async def unreachable(self) -> str | None:
        """Say that the engine is well but cannot be reached from here; None while that may change.

        Asked again and again while it starts.
        """
        ...

    async def stop(self, grace: float) -> None:
        """End it with all that it started: asked first, killed after ``grace`` seconds."""
        ...

    def last_lines(self) -> list[str]:
        """Return the last log lines of this run."""
        ...
