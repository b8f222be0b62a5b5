"""Locks between processes, held by the system: each ends with the process that holds it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file; wait for whoever holds it now."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def exclusive_now(path: Path) -> Iterator[bool]:
    """Hold the lock file if nobody does; yields whether it is held."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def lock_shared(path: Path) -> Iterator[int]:
    """Hold the lock file together with others; yields a descriptor.

    A child process that is given the descriptor holds it until it ends.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file.fileno()


def is_locked(path: Path) -> bool:
    """Say whether anybody holds the lock file, alone or with others."""
    with exclusive_now(path) as held:
        return not held
