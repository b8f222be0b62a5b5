"""Operators that keep results in a cache, whose last ones are written by a timer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sage.dataflow.content_cache import TRANSACTION_SECONDS, ContentCache
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import Bound, Checkpointed, Timed
from sage.dataflow.meter import Meter


class WriteBehind(Timed, Bound, Checkpointed):
    """Base of an operator that has a `ContentCache` between its ``open`` and its ``close``."""

    _cache: ContentCache | None = None
    _clock: Callable[[], float] = staticmethod(time.perf_counter)

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Go by the job's clock."""
        self._clock = services.clock

    def open_cache(self, path: Path) -> None:
        """Open the file.

        Raises:
            ConfigError: it cannot be used.
        """
        self._cache = ContentCache(path)

    def kept(self, key: bytes) -> bytes | None:
        """Return the result that is kept under a key, or None."""
        return None if self._cache is None else self._cache.get(key)

    def keep(self, key: bytes, result: bytes) -> None:
        """Keep a result; it is in the file within a quarter of a second."""
        if self._cache is None:
            return
        self._cache.put(key, result)
        if not self._cache.pending:
            self.due = None
        elif self.due is None:
            self.due = self._clock() + TRANSACTION_SECONDS

    def wake(self) -> list[Any]:
        """Write what is not yet in the file; emit nothing."""
        self._write()
        return []

    def saved(self) -> None:
        """Write what is not yet in the file: what a checkpoint counts as done is kept."""
        self._write()

    def restore_saved(self, state: None) -> None:
        """Take nothing: all there is lies in the file."""

    @staticmethod
    def divided(states: Sequence[None], parallelism: int) -> Sequence[None]:  # noqa: ARG004
        """Return nothing for each replica."""
        return [None] * parallelism

    def close_cache(self) -> None:
        """Write what is not yet in the file, and close it."""
        self.due = None
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _write(self) -> None:
        self.due = None
        if self._cache is not None:
            self._cache.flush()
