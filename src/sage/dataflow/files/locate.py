"""Finding and opening files: paths, globs, and URLs where fsspec is installed."""

from __future__ import annotations

import glob
import gzip
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from sage.errors import ConfigError, GraphError, shorten

PathLike = str | os.PathLike[str]


def find_files(paths: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """Return the files that paths, globs and URLs name, those of each in order, each file once.

    Raises:
        GraphError: one of them names nothing, or a folder.
        ConfigError: one is a URL and fsspec is not installed.
    """
    if not isinstance(paths, (str, os.PathLike, Iterable)):
        raise GraphError(f"from_files() got {shorten(paths)}; give a path, a glob or a URL")
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise GraphError("from_files() got no paths")
    found: dict[str, None] = {}
    for path in given:
        if not isinstance(path, (str, os.PathLike)):
            raise GraphError(f"from_files() got {shorten(path)}; give a path, a glob or a URL")
        name = os.fspath(path)
        files = _find_remote(name) if is_url(name) else _find_local(name)
        if not files:
            raise GraphError(f"from_files() found no file for {name!r}; check the path")
        found.update(dict.fromkeys(files))
    return tuple(found)


def is_url(name: str) -> bool:
    """Say whether a name is for fsspec."""
    return "://" in name


def open_file(name: str) -> IO[bytes]:
    """Open a file for reading, unpacked if its name ends in ``.gz``.

    Raises:
        OSError: it cannot be opened.
    """
    if is_url(name):
        system, path = fsspec_core(name).url_to_fs(name)
        raw: IO[bytes] = system.open(path, "rb")
    else:
        raw = Path(name).open("rb")  # noqa: SIM115 - the caller closes it
    if not name.endswith(".gz"):
        return raw
    # A GzipFile has the methods of a binary file that readers use, though not its type.
    return cast("IO[bytes]", _Unpacked(raw))


class _Unpacked(gzip.GzipFile):
    """A gzip file that closes the file it reads."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        """Close both."""
        super().close()
        self._raw.close()


def _find_local(name: str) -> list[str]:
    path = Path(name)
    if path.is_file():
        return [name]
    if path.is_dir():
        raise GraphError(f"{name!r} is a folder; name its files, as in {str(path / '*')!r}")
    # Not Path.glob, which takes no absolute pattern.
    names = glob.glob(name, recursive=True)  # noqa: PTH207
    return sorted(file for file in names if Path(file).is_file())


def _find_remote(name: str) -> list[str]:
    system, path = fsspec_core(name).url_to_fs(name)
    files = system.glob(path) if glob.has_magic(path) else [path] * system.isfile(path)
    return sorted(system.unstrip_protocol(file) for file in files if system.isfile(file))


def fsspec_core(name: str) -> Any:
    """Return fsspec's module that takes URLs apart.

    Args:
        name: the URL that it is needed for.

    Raises:
        ConfigError: fsspec is not installed.
    """
    try:
        return importlib.import_module("fsspec.core")
    except ImportError:
        raise ConfigError(
            f"{name!r} is a URL, for which fsspec is needed: pip install fsspec"
        ) from None
