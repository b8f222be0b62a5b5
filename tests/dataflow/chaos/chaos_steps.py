"""Kills this process at a named step of a checkpoint's commit."""

from __future__ import annotations

import io
import os
import signal
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

STEPS = ("write", "fsync", "rename", "folder fsync", "prune")


class _Killer:
    """Counts how often a step is come to, and kills at one of them."""

    def __init__(self, nth: int, marker: Path) -> None:
        self._left = nth
        self._marker = marker

    def come(self, how: Callable[[], None] | None = None) -> None:
        """Take note of the step; the last thing done before the end is ``how``."""
        self._left -= 1
        if self._left == 0:
            if how is not None:
                how()
            self._marker.write_text("fired", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)


class _HalfWritten:
    """A file of which only a part is written."""

    def __init__(self, file: Any, killer: _Killer) -> None:
        self._file = file
        self._killer = killer

    def __enter__(self) -> _HalfWritten:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def writelines(self, parts: Iterable[bytes]) -> None:
        whole = b"".join(parts)

        def half() -> None:
            self._file.write(whole[: len(whole) // 2])
            self._file.flush()

        self._killer.come(half)
        self._file.write(whole)


def kill_at(step: str, nth: int, marker: Path) -> None:
    """Have this process killed when it comes to a step.

    Args:
        step: one of `STEPS`; "write" is in the midst of it, the others just before it.
        nth: at which occurrence.
        marker: the file that is made before.
    """
    killer = _Killer(nth, marker)
    _PATCHES[step](killer)


def _write(killer: _Killer) -> None:
    real = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        made = real(file, mode, *arguments, **options)
        return _HalfWritten(made, killer) if str(file).endswith(".sage.tmp") else made

    io.open = opened  # type: ignore[assignment]


def _fsync(killer: _Killer) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            killer.come()
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def _folder_fsync(killer: _Killer) -> None:
    real, real_replace = os.fsync, os.replace
    renamed = [False]

    def replace(source: Any, target: Any, **options: Any) -> None:
        real_replace(source, target, **options)
        renamed[0] = True

    def fsync(descriptor: int) -> None:
        # Those before the first checkpoint are of the folder's own making.
        if renamed[0] and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            killer.come()
        real(descriptor)

    os.replace, os.fsync = replace, fsync  # type: ignore[assignment]


def _rename(killer: _Killer) -> None:
    real = os.replace

    def replace(source: Any, target: Any, **options: Any) -> None:
        killer.come()
        real(source, target, **options)

    os.replace = replace  # type: ignore[assignment]


def _prune(killer: _Killer) -> None:
    real = os.unlink

    def unlink(path: Any, **options: Any) -> None:
        if str(path).endswith(".sage"):
            killer.come()
        real(path, **options)

    os.unlink = unlink  # type: ignore[assignment]


_PATCHES: dict[str, Callable[[_Killer], None]] = {
    "write": _write,
    "fsync": _fsync,
    "rename": _rename,
    "folder fsync": _folder_fsync,
    "prune": _prune,
}
