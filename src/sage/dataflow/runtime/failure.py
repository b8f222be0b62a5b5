"""An operator's failure, in a form that goes from one process to another."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sage.dataflow.loop import RecordFailedError
from sage.dataflow.replica import CHECKPOINT, CLOSING
from sage.errors import (
    CheckpointError,
    ClusterError,
    DataflowError,
    GraphError,
    OperatorError,
    SageError,
)

# They say themselves what was wrong; no operator is to blame.
BY_THEMSELVES = (CheckpointError, ClusterError, GraphError)

Dump = Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Failure:
    """An operator's error, in a form that any error can be sent in.

    Attributes:
        operator: the operator's name; empty where none is to blame.
        record: the record it was working on, or its repr when it cannot be sent.
        cause: what it raised, or a RuntimeError of the same text when that cannot be sent.
        done: what the stage had made of the records before it.
    """

    operator: str
    record: Any
    cause: BaseException
    done: list[Any]

    def error(self, stage: str) -> SageError:
        """Return the error that it was.

        Args:
            stage: what to blame where no operator is.
        """
        if isinstance(self.cause, BY_THEMSELVES):
            return self.cause
        error = RecordFailedError(self.operator or stage, self.record, self.cause)
        error.done = self.done
        error.__cause__ = self.cause
        return error


def failure_of(error: BaseException, dump: Dump) -> Failure:
    """Return an error in the form in which it can be sent.

    Args:
        error: what a stage raised.
        dump: pickles what is sent.
    """
    if isinstance(error, OperatorError):
        done = error.done if isinstance(error, RecordFailedError) else []
        cause = sendable_error(error.__cause__ or error, dump)
        return Failure(error.operator, sendable(error.record, dump), cause, done)
    if isinstance(error, BY_THEMSELVES):
        return Failure("", CHECKPOINT, error, [])
    place = CLOSING if isinstance(error, DataflowError) else "<batch>"
    return Failure("", place, sendable_error(error, dump), [])


def sendable(record: Any, dump: Dump) -> Any:
    """Return a record, or its repr when it cannot be pickled."""
    try:
        dump(record)
    except Exception:  # noqa: BLE001 - whatever pickling a user's record raises
        return repr(record)
    return record


def sendable_error(error: BaseException, dump: Dump) -> BaseException:
    """Return an error, or one of the same text when it does not come through a pickle whole."""
    try:
        copy = pickle.loads(dump(error))  # noqa: S301 - made on this line
    except Exception:  # noqa: BLE001 - as above; an error with arguments of its own often cannot
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if type(copy) is type(error) else RuntimeError(str(error))
