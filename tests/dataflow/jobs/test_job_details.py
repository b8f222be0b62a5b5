"""What of a result is no JSON, on its way back to the client."""

from __future__ import annotations

import threading
from typing import Any

from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.jobs.details import Details, unpack_details
from sage.errors import DataflowError, OperatorError, OperatorTimeoutError


class Peculiar(Exception):
    """Cannot be made of its message alone."""

    def __init__(self, code: int, lock: Any) -> None:
        self.lock = lock
        super().__init__(f"code {code}")


def test_nothing_is_nothing() -> None:
    """Most jobs have none."""
    assert Details(gathered={"out": []}).packed() is None
    assert unpack_details(None) == Details()


def test_what_can_be_pickled_comes_back_as_it_was() -> None:
    """Errors with their cause."""
    error = OperatorError("picky", {"n": 7}, ValueError("no"))
    letter = DeadLetter(7, KeyError("k"), 2, "picky", 1.0)
    back = unpack_details(Details(error, (letter,), {"out": [1, "two"]}).packed())
    assert isinstance(back.error, OperatorError)
    assert (back.error.operator, back.error.record) == ("picky", {"n": 7})
    assert str(back.error) == str(error)
    assert isinstance(back.error.__cause__, ValueError)
    assert (back.dead_letters[0].record, back.dead_letters[0].attempts) == (7, 2)
    assert back.gathered == {"out": [1, "two"]}
    timeout = unpack_details(Details(OperatorTimeoutError("slow", 2.0)).packed()).error
    assert isinstance(timeout, OperatorTimeoutError)


def test_what_cannot_be_pickled_is_told_in_words() -> None:
    """The rest comes back as it was."""
    lock = threading.Lock()
    error = OperatorError("picky", lock, Peculiar(3, lock))
    letters = (DeadLetter(lock, Peculiar(4, lock), 1, "picky", 1.0),)
    back = unpack_details(Details(error, letters, {"out": [1, lock]}).packed())
    assert isinstance(back.error, OperatorError)
    assert back.error.operator == "picky"
    assert back.error.record == repr(lock)
    assert "Peculiar: code 3" in str(back.error)
    assert isinstance(back.dead_letters[0].error, DataflowError)
    assert str(back.dead_letters[0].error) == "Peculiar: code 4"
    assert back.dead_letters[0].record == repr(lock)
    assert back.gathered == {"out": [1, repr(lock)]}
