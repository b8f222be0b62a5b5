"""A folder of checkpoints at a URL, by fsspec."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from sage.dataflow.files.locate import fsspec_core

logger = logging.getLogger("sage.dataflow")


class RemoteFolder:
    """A folder at a URL; see `Folder`.

    A file is written by one put, which stores such as S3 do whole or not at all. Nothing keeps a
    second job from writing to it; that is logged once.

    Args:
        url: of the folder.

    Raises:
        ConfigError: fsspec is not installed.
        OSError: the folder cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        core = fsspec_core(url)
        with _as_os_error():
            self._system, self._path = core.url_to_fs(self._url)
            self._system.makedirs(self._path, exist_ok=True)
        logger.info(
            "checkpoints at %s are written by put, without a lock: let no other job write there",
            self._url,
        )

    def path(self, name: str = "") -> str:
        """Return a file's URL, or the folder's."""
        return f"{self._url}/{name}" if name else self._url

    def names(self) -> list[str]:
        """Return the names of its files."""
        with _as_os_error():
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._path, detail=False)
            except FileNotFoundError:
                # Where there are no folders, an empty one is not there.
                return []
        return [str(path).rsplit("/", 1)[-1] for path in found]

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Put a file."""
        with _as_os_error():
            self._system.pipe_file(f"{self._path}/{name}", b"".join(parts))

    def open(self, name: str) -> IO[bytes]:
        """Get a file; it is held in memory, since a load reads it twice."""
        with _as_os_error():
            return io.BytesIO(self._system.cat_file(f"{self._path}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with _as_os_error():
            try:
                self._system.rm_file(f"{self._path}/{name}")
            except FileNotFoundError:
                return

    def close(self) -> None:
        """Do nothing: nothing is held."""


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # Each file-system has exceptions of its own.
        raise OSError(f"{type(error).__name__}: {error}") from error
