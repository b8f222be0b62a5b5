"""What of a job's result is no JSON: the error, dead letters, and gathered records."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.jobs.pickling import load_cloudpickle
from sage.errors import DataflowError, OperatorError, shorten


@dataclass(frozen=True, slots=True)
class Details:
    """Python objects that come back with a result.

    Attributes:
        error: what the job failed with.
        dead_letters: those that were kept.
        gathered: records for the client's lists, by the sink's name.
    """

    error: BaseException | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    gathered: Mapping[str, list[Any]] = field(default_factory=dict)

    def packed(self) -> bytes | None:
        """Return them pickled; None when there is nothing.

        What cannot be pickled is replaced: an error by one of its text, a record by its repr.
        """
        if self.error is None and not self.dead_letters and not any(self.gathered.values()):
            return None
        dumps: Callable[[Any], bytes] = load_cloudpickle().dumps
        try:
            packed = dumps(self)
            pickle.loads(packed)  # noqa: S301 - made on the line before
        except Exception:  # noqa: BLE001 - a user's objects may raise anything
            packed = dumps(
                Details(
                    None if self.error is None else _sendable_error(self.error, dumps),
                    tuple(_sendable_letter(letter, dumps) for letter in self.dead_letters),
                    {
                        name: [_sendable(record, dumps) for record in records]
                        for name, records in self.gathered.items()
                    },
                )
            )
        return packed


def unpack_details(packed: bytes | None) -> Details:
    """Return what a job's driver has packed.

    Raises:
        Exception: whatever unpickling a user's object raises.
    """
    if packed is None:
        return Details()
    details: Details = pickle.loads(packed)  # noqa: S301 - of the manager that runs our own code
    return details


def _sendable_error(error: BaseException, dumps: Callable[[Any], bytes]) -> BaseException:
    if isinstance(error, OperatorError) and error.__cause__ is not None:
        cause = _sendable_error(error.__cause__, dumps)
        return OperatorError(error.operator, _sendable(error.record, dumps), cause)
    try:
        copy = pickle.loads(dumps(error))  # noqa: S301 - made on this line
    except Exception:  # noqa: BLE001 - an error with arguments of its own often cannot
        return DataflowError(f"{type(error).__name__}: {error}")
    return error if type(copy) is type(error) else DataflowError(str(error))


def _sendable_letter(letter: DeadLetter, dumps: Callable[[Any], bytes]) -> DeadLetter:
    error = _sendable_error(letter.error, dumps)
    assert isinstance(error, Exception)
    return replace(letter, record=_sendable(letter.record, dumps), error=error)


def _sendable(record: Any, dumps: Callable[[Any], bytes]) -> Any:
    try:
        pickle.loads(dumps(record))  # noqa: S301 - made on this line
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return shorten(record)
    return record
