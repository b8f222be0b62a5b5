"""A folder of checkpoints: one file each, whole or not there, the newest few kept."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sage.dataflow.checkpoint.folder import Folder
from sage.dataflow.checkpoint.layout import decode, encode, verify
from sage.dataflow.checkpoint.local import LocalFolder
from sage.dataflow.checkpoint.remote import RemoteFolder
from sage.dataflow.checkpoint.snapshot import JobSnapshot
from sage.dataflow.checks import check_count
from sage.dataflow.files.locate import is_url
from sage.errors import CheckpointError, DamagedCheckpointError

logger = logging.getLogger("sage.dataflow")

_NAME = re.compile(r"checkpoint-([0-9]{8,})\.sage")
_ADVICE = {
    errno.ENOSPC: "free space there, or give another dir",
    errno.EDQUOT: "free space there, or give another dir",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or give another dir",
    errno.EACCES: "fix its permissions, or give another dir",
    errno.EPERM: "fix its permissions, or give another dir",
    errno.EROFS: "give a dir that can be written",
    errno.ENOTDIR: "give the path of a folder",
    errno.EEXIST: "give the path of a folder",
}


class CheckpointStore:
    """The checkpoints of one job. States in it are pickles: use folders that you trust.

    Use it from one thread at a time, and close it: only then may another job use the folder.

    Args:
        folder: a path, or a URL where fsspec is installed; made if it is not there.
        keep: how many good checkpoints are kept, the newest ones.

    Raises:
        CheckpointError: another job uses the folder, or it cannot be made or written to.
        ConfigError: it is a URL and fsspec is not installed; or ``keep`` is no whole number from 1.
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        check_count("checkpoint keep", keep)
        self._keep = keep
        # Damaged ones with False, so that each is read and warned of once.
        self._checked: dict[int, bool] = {}
        # Those up to this number are of an earlier run.
        self._earlier = 0
        self._closed = False
        name = os.fspath(folder).removeprefix("file://").removeprefix("local://")
        with _translated("use the folder", name):
            self._folder: Folder = RemoteFolder(name) if is_url(name) else LocalFolder(Path(name))

    def numbers(self) -> list[int]:
        """Return the numbers of all checkpoints there are, damaged ones too, rising."""
        with _translated("list the folder", self._folder.path()):
            names = self._folder.names()
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def next_number(self) -> int:
        """Return a number above those of all checkpoints there are, from 1."""
        return max(self.numbers(), default=0) + 1

    def begin_anew(self) -> bool:
        """Let no checkpoint of an earlier run be gone on from; say whether there are any.

        They are removed when the first new one is written.
        """
        self._earlier = max(self.numbers(), default=0)
        return self._earlier > 0

    def save(self, snapshot: JobSnapshot) -> None:
        """Write a checkpoint, then remove those that are not to be kept.

        Raises:
            CheckpointError: it cannot be written, or the store is closed; those before are as they
                were.
        """
        name = _name(snapshot.number)
        if self._closed:
            raise CheckpointError(
                f"cannot write {self._folder.path(name)}: the store is closed, and another job may "
                "use the folder; open a new one"
            )
        with _translated("write", self._folder.path(name)):
            self._folder.write(name, encode(snapshot))
        self._checked[snapshot.number] = True
        self.prune()

    def load(self, number: int | None = None) -> JobSnapshot | None:
        """Return a checkpoint.

        Args:
            number: which one. None is the latest that is not damaged; each damaged one that is
                passed over is warned of.

        Returns:
            the checkpoint; None when none was asked for by number and there are none at all.

        Raises:
            DamagedCheckpointError: that one is damaged; or all of them are.
            CheckpointError: there is none of that number, or it cannot be read.
        """
        numbers = self.numbers()
        if number is None:
            return self._load_latest(numbers)
        if number not in numbers:
            there = ", ".join(map(str, numbers)) or "none"
            raise CheckpointError(
                f"there is no checkpoint {number} in {self._folder.path()}; there are: {there}"
            )
        return self._read(number)

    def prune(self) -> None:
        """Remove all checkpoints before the newest good ones that are to be kept.

        One that this store has neither written nor read is read whole, once. What cannot be
        removed is logged, and tried again the next time.
        """
        try:
            numbers = self.numbers()
        except CheckpointError as error:
            logger.warning("no old checkpoints are removed: %s", error)
            return
        good = 0
        for number in reversed(numbers):
            if good == self._keep or (good and number <= self._earlier):
                self._remove(number)
            else:
                good += self._is_good(number)

    def close(self) -> None:
        """Let another job use the folder."""
        self._closed = True
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _load_latest(self, numbers: list[int]) -> JobSnapshot | None:
        numbers = [number for number in numbers if number > self._earlier]
        for number in reversed(numbers):
            if self._checked.get(number, True):
                try:
                    return self._read(number)
                except DamagedCheckpointError as error:
                    self._checked[number] = False
                    logger.warning("%s; the checkpoint before it is used instead", error)
        if numbers:
            raise DamagedCheckpointError(
                f"every checkpoint in {self._folder.path()} is damaged "
                f"({', '.join(map(str, numbers))}); run without resume to begin anew"
            )
        return None

    def _read(self, number: int) -> JobSnapshot:
        name = _name(number)
        path = self._folder.path(name)
        with _translated("read", path), self._folder.open(name) as file:
            snapshot = decode(file, path)
        if snapshot.number != number:
            raise DamagedCheckpointError(
                f"{path} is damaged: it has the name of checkpoint {number} and holds checkpoint "
                f"{snapshot.number}"
            )
        self._checked[number] = True
        return snapshot

    def _is_good(self, number: int) -> bool:
        if number in self._checked:
            return self._checked[number]
        name = _name(number)
        path = self._folder.path(name)
        try:
            with _translated("read", path), self._folder.open(name) as file:
                verify(file, path)
        except CheckpointError as error:
            logger.warning("%s; it does not count among those kept", error)
            # One that cannot be read may be good, and is looked at again the next time.
            if isinstance(error, DamagedCheckpointError):
                self._checked[number] = False
            return False
        self._checked[number] = True
        return True

    def _remove(self, number: int) -> None:
        name = _name(number)
        try:
            self._folder.remove(name)
        except OSError as error:
            logger.warning("cannot remove %s: %s", self._folder.path(name), _reason(error))
        else:
            self._checked.pop(number, None)


def _name(number: int) -> str:
    return f"checkpoint-{number:08d}.sage"


@contextmanager
def _translated(action: str, path: str) -> Iterator[None]:
    """Turn an `OSError` into a `CheckpointError` with the path, the reason and what to do."""
    try:
        yield
    except OSError as error:
        if action == "read" and error.errno == errno.EIO:
            raise DamagedCheckpointError(f"{path} is damaged: {_reason(error)}") from error
        advice = _ADVICE.get(error.errno or 0, "see to it, or give another dir")
        raise CheckpointError(f"cannot {action} {path}: {_reason(error)}; {advice}") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
