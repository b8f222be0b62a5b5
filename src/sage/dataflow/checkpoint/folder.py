"""Where checkpoints lie: what a store needs of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Protocol


class Folder(Protocol):
    """A folder of files that are written whole or not at all; its methods raise `OSError`."""

    def path(self, name: str = "") -> str:
        """Return a file's path or URL, or the folder's, for messages."""

    def names(self) -> list[str]:
        """Return the names of its files."""

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file, or replace it; once this returns, a loss of power leaves it there."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading and seeking."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def close(self) -> None:
        """Leave the folder to others."""
