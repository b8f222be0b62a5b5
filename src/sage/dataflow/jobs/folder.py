"""The folder of one job: its pickle, its log, what its drivers are told and leave behind."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from sage.dataflow.jobs.wire import Progress, Resume

T = TypeVar("T", bound=msgspec.Struct)


class DriverOrder(msgspec.Struct, frozen=True):
    """What a driver is to do.

    Attributes:
        attempt: its number, from 1.
        name: the job's.
        resume: the checkpoint that the user wants the job to go on from.
        takes_over: whether it follows a driver that has died.
        profile: measure every batch operator by operator.
    """

    attempt: int
    name: str
    resume: Resume
    takes_over: bool
    profile: bool


class DriverState(msgspec.Struct, frozen=True):
    """A driver that was started.

    Attributes:
        pid: its process.
        pid_created: when that started, in seconds since the epoch.
        attempt: its number.
        socket: path of the socket on which it is asked.
    """

    pid: int
    pid_created: float
    attempt: int
    socket: str


class Begun(msgspec.Struct, frozen=True):
    """What there was when the job began or was resumed.

    Attributes:
        earlier: number of the last checkpoint of before; 0 for none.
    """

    earlier: int


class JobFolder:
    """Where a job's files lie. Each is written whole or not at all.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pipeline = path / "pipeline.pickle"
        self.log = path / "job.log"
        self.log_lock = path / "log.lock"
        self.socket = path / "driver.sock"
        self.details = path / "details.pickle"
        self._order = path / "order.json"
        self._driver = path / "driver.json"
        self._begun = path / "begun.json"
        self._progress = path / "progress.json"
        self._result = path / "result.json"

    def make(self, pipeline: bytes) -> None:
        """Make the folder, which only this user may look into.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True)
        write_whole(self.pipeline, pipeline)

    def remove(self) -> None:
        """Remove the folder, and a socket that a driver had to put elsewhere."""
        self.clear_socket()
        shutil.rmtree(self.path, ignore_errors=True)

    def clear_socket(self) -> None:
        """Remove the socket of the last driver, which one that was killed has left behind."""
        driver = self.driver()
        if driver is not None:
            remove_socket(Path(driver.socket), self.path)

    def gathered(self, number: int) -> Path:
        """Return where the records of a list are kept."""
        return self.path / f"gathered-{number}.pickle"

    def renew(self) -> None:
        """Forget the result and what there was at the beginning: the job begins again."""
        for path in (self._progress, self._result, self.details, self._begun):
            path.unlink(missing_ok=True)

    def order(self) -> DriverOrder:
        """Return what the driver is to do."""
        return msgspec.json.decode(self._order.read_bytes(), type=DriverOrder)

    def write_order(self, order: DriverOrder) -> None:
        """Say what the next driver is to do."""
        _write(self._order, order)

    def driver(self) -> DriverState | None:
        """Return the driver that was started last; None before it has said so."""
        return _read(self._driver, DriverState)

    def write_driver(self, state: DriverState) -> None:
        """Say which process drives the job."""
        _write(self._driver, state)

    def begun(self) -> Begun | None:
        """Return what there was when the job began; None before its first driver looked."""
        return _read(self._begun, Begun)

    def write_begun(self, begun: Begun) -> None:
        """Say what there was when the job began."""
        _write(self._begun, begun)

    def progress(self) -> Progress | None:
        """Return what the last driver had done a moment before it ended; None when it says none."""
        return _read(self._progress, Progress)

    def write_progress(self, progress: Progress) -> None:
        """Say what has been done, should there be no result."""
        _write(self._progress, progress)

    def result(self) -> Progress | None:
        """Return what the last driver to end well has left; None when none has."""
        return _read(self._result, Progress)

    def write_result(self, progress: Progress, details: bytes | None) -> None:
        """Leave the result; the details come first, so that they are there when it is."""
        if details is None:
            self.details.unlink(missing_ok=True)
        else:
            write_whole(self.details, details)
        _write(self._result, progress)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, or replace it, so that a reader or a loss of power finds all or nothing."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_socket(socket: Path, home: Path) -> None:
    """Remove a driver's socket, with the folder of its own that it has when not at home."""
    with contextlib.suppress(OSError):
        socket.unlink(missing_ok=True)
        if socket.parent != home:
            socket.parent.rmdir()


def _write(path: Path, value: msgspec.Struct) -> None:
    write_whole(path, msgspec.json.encode(value))


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
