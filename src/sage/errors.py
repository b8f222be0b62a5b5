"""Every error SAGE raises on purpose.

A message names what was wrong, the value, and what to do. The command line prints it as one
line and exits with ``exit_code``.

::

    SageError
    ├── ConfigError                 a setting, flag, file or key is wrong           (exit 2)
    │   └── UnknownKeyError         no such key; names the nearest one
    ├── ModelError                  a model cannot be used                          (exit 3)
    │   ├── ModelNotFoundError      nothing by that name is installed or on disk
    │   └── ModelFileError          the file is there, but damaged or of another kind
    ├── EngineError                 an engine process cannot do its work            (exit 4)
    │   ├── EngineStartError        it did not become healthy; carries its last log lines
    │   ├── PortInUseError          the port is held; names the process that holds it
    │   └── AlreadyRunningError     another stack holds this user's state
    ├── InferenceError              a request to an engine or gateway failed        (exit 5)
    │   ├── NoBackendError          nothing answered; lists each place tried and why
    │   ├── BadRequestError         4xx: the request itself is wrong
    │   ├── RejectedError           429/503: refused for now; carries retry_after
    │   ├── UpstreamError           5xx, or an answer that is not what was promised
    │   └── RequestTimeoutError     no answer within the time given
    ├── ClusterError                a Ray cluster cannot do what is asked           (exit 7)
    │   ├── NoClusterError          nothing answers at its address
    │   └── ResourceError           it has less than was asked for; names both numbers
    └── DataflowError               a pipeline cannot be built or did not finish    (exit 6)
        ├── GraphError              the graph is not one that can run
        ├── OperatorError           an operator raised; names it and the record
        ├── OperatorTimeoutError    an operator's call took longer than its `timeout`
        ├── LateRecordError         a record came after all of its windows were given up
        ├── CheckpointError         a checkpoint cannot be written, read or resumed from
        │   ├── DamagedCheckpointError  its file is not as it was written
        │   └── GraphChangedError   it is of another graph; names each difference
        ├── JobCancelledError       the job was cancelled before its input ended
        └── JobManagerError         a job manager is not there, or does not do what it was asked
            ├── ManagerUnreachableError  nothing answers at its address
            ├── TokenError          it was shown no token, or a wrong one
            ├── UnknownJobError     it has no job of that id; names the nearest
            └── VersionMismatchError  client and manager have different versions; names both

A `DataflowError` that ended a job has the job's `JobResult` as ``error.result``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SageError(Exception):
    """Base of all errors that SAGE raises on purpose."""

    exit_code = 1


class ConfigError(SageError):
    """A setting, flag, file or key is wrong."""

    exit_code = 2


class UnknownKeyError(ConfigError):
    """A key that does not exist; the message names the nearest one that does.

    Args:
        key: what was written.
        known: the keys that exist.
        where: what the key was written in, for the message ("UnifiedServerConfig", a file path).
    """

    def __init__(self, key: str, known: Iterable[str], *, where: str) -> None:
        self.key = key
        self.known = sorted(known)
        self.nearest = nearest(key, self.known)
        hint = (
            f"did you mean {self.nearest!r}?" if self.nearest else f"known: {', '.join(self.known)}"
        )
        super().__init__(f"{where}: unknown key {key!r}; {hint}")


class ModelError(SageError):
    """A model cannot be used."""

    exit_code = 3


class ModelNotFoundError(ModelError):
    """Nothing by that name is installed or on disk."""


class ModelFileError(ModelError):
    """A model's file is there, but damaged or of another kind."""


class EngineError(SageError):
    """An engine process cannot do its work."""

    exit_code = 4


class EngineStartError(EngineError):
    """An engine did not become healthy.

    Args:
        message: what was tried and what happened.
        log_tail: the engine's last log lines, oldest first.
    """

    def __init__(self, message: str, *, log_tail: Iterable[str] = ()) -> None:
        self.log_tail = list(log_tail)
        super().__init__(message)


class PortInUseError(EngineError):
    """A port is held by another process, which the message names."""


class AlreadyRunningError(EngineError):
    """Another stack already runs for this user."""


class InferenceError(SageError):
    """A request to an engine or gateway failed."""

    exit_code = 5


class NoBackendError(InferenceError):
    """Nothing answered; the message lists each place tried and why it failed."""


class BadRequestError(InferenceError):
    """The request itself is wrong (4xx other than 429).

    Args:
        message: what the server said.
        status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class RejectedError(InferenceError):
    """The server refused for now (429 or 503).

    Args:
        message: what the server said.
        status: the HTTP status.
        retry_after: seconds to wait before the next try, when the server named them.
    """

    def __init__(
        self, message: str, *, status: int = 429, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class UpstreamError(InferenceError):
    """The server failed (5xx), or answered with something other than what was promised."""


class RequestTimeoutError(InferenceError):
    """No answer came within the time given."""


class ClusterError(SageError):
    """A Ray cluster cannot do what is asked of it."""

    exit_code = 7


class NoClusterError(ClusterError):
    """Nothing answers at a cluster's address."""


class ResourceError(ClusterError):
    """A cluster has less than was asked for; the message names both numbers."""


class DataflowError(SageError):
    """A pipeline cannot be built or did not finish.

    Attributes:
        result: the `JobResult` of the job that it ended, with its counts and dead letters; None
            while no job has ended with it.
    """

    exit_code = 6
    result: Any = None


class GraphError(DataflowError):
    """The graph is not one that can run."""


class OperatorError(DataflowError):
    """An operator raised.

    Args:
        operator: the operator's name.
        record: the record it was working on; shortened in the message, whole in the attribute.
        cause: what it raised.
    """

    def __init__(self, operator: str, record: object, cause: BaseException) -> None:
        self.operator = operator
        self.record = record
        super().__init__(
            f"operator {operator!r} failed on record {shorten(record)}: "
            f"{type(cause).__name__}: {cause}"
        )
        self.__cause__ = cause

    def __reduce__(self) -> tuple[type[OperatorError], tuple[str, object, BaseException | None]]:
        return type(self), (self.operator, self.record, self.__cause__)


class OperatorTimeoutError(DataflowError):
    """A call of an operator took longer than its ``timeout``.

    Args:
        operator: the operator's name.
        timeout: seconds that it had.
    """

    def __init__(self, operator: str, timeout: float) -> None:
        self.operator = operator
        self.timeout = timeout
        super().__init__(f"operator {operator!r} took longer than its timeout of {timeout:g} s")

    def __reduce__(self) -> tuple[type[OperatorTimeoutError], tuple[str, float]]:
        return type(self), (self.operator, self.timeout)


class LateRecordError(DataflowError):
    """A record came after every window that it belongs to was given up.

    Args:
        timestamp: of the record.
        watermark: how far time had gone on.
    """

    def __init__(self, timestamp: float, watermark: float) -> None:
        self.timestamp = timestamp
        self.watermark = watermark
        super().__init__(
            f"the record of time {timestamp} came when the watermark was {watermark}; raise "
            "out_of_orderness or allowed_lateness if it should count"
        )

    def __reduce__(self) -> tuple[type[LateRecordError], tuple[float, float]]:
        return type(self), (self.timestamp, self.watermark)


class CheckpointError(DataflowError):
    """A checkpoint cannot be written, read or resumed from."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's file is not as it was written: cut short, or changed since."""


class GraphChangedError(CheckpointError):
    """A checkpoint is of another graph than the one that would resume from it.

    Args:
        number: of the checkpoint.
        differences: a sentence for each.
    """

    def __init__(self, number: int, differences: Iterable[str]) -> None:
        self.number = number
        self.differences = list(differences)
        super().__init__(
            f"checkpoint {number} is of another graph: {'; '.join(self.differences)}; resume the "
            "pipeline as it was, or run without resume to begin anew"
        )

    def __reduce__(self) -> tuple[type[GraphChangedError], tuple[int, list[str]]]:
        return type(self), (self.number, self.differences)


class JobCancelledError(DataflowError):
    """The job was cancelled before its input ended."""


class JobManagerError(DataflowError):
    """A job manager is not there, or does not do what it was asked."""


class ManagerUnreachableError(JobManagerError):
    """No job manager answers at the address."""


class TokenError(JobManagerError):
    """The job manager was shown no token, or a wrong one."""


class UnknownJobError(JobManagerError):
    """The job manager has no job of that id."""

    @classmethod
    def among(cls, id_: str, known: Iterable[str]) -> UnknownJobError:
        """Return the error for an id, with the nearest of those that there are."""
        known = list(known)
        close = nearest(id_, known)
        if close:
            hint = f"did you mean {close!r}?"
        else:
            hint = "`sage job list` shows them" if known else "it has none at all"
        return cls(f"the job manager has no job {id_!r}; {hint}")


class VersionMismatchError(JobManagerError):
    """Client and job manager have versions that do not go together; the message names both."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like ``word``, or None when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def shorten(value: object, limit: int = 120) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters, never raising."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"
