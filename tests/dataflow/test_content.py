"""Digests by content."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.content import content_digest
from sage.errors import DataflowError


@dataclass
class Point:
    x: int
    y: Any = None


@dataclass
class OtherPoint:
    x: int
    y: Any = None


class Colour(Enum):
    RED = 1
    BLUE = 2


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)

DIFFERENT: list[Any] = [
    None, 0, 1, 1.0, True, False, "", "1", b"1", (), [], {}, set(), [1], (1,), {1}, ["ab", "c"],
    ["a", "bc"], [["a"], "b"], [["a", "b"]], {"a": 1}, {"a": "1"}, [("a", 1)], -0.0, 0.0,
    Point(1), Point(1, 2), OtherPoint(1), Colour.RED, Colour.BLUE, date(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), Path("a"), np.array([1, 2]),
    np.array([[1, 2]]), np.array([1, 2], np.float32), np.float32(1), np.int64(1),
]  # fmt: skip


@given(VALUES)
def test_equal_contents(value: Any) -> None:
    """The same content gives the same digest, whatever the order of a dict."""
    copy = eval(repr(value), {"nan": float("nan"), "inf": float("inf")})
    assert content_digest(value) == content_digest(copy)
    if isinstance(value, dict):
        assert content_digest(value) == content_digest(dict(reversed(value.items())))


def test_different_contents() -> None:
    """Values of different types or contents differ, also where == says that they are equal."""
    digests = [content_digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)
    assert content_digest("a", "b") != content_digest(("a", "b"))


def test_same_in_every_process() -> None:
    """PYTHONHASHSEED changes nothing."""
    program = (
        "from sage.dataflow.content import content_digest as digest;"
        "print(digest({'a': {'x', 'y', 'z'}, 'b': frozenset('qwerty')}).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {content_digest({"b": frozenset("qwerty"), "a": set("xyz")}).hex() + "\n"}


def test_arrays_in_any_layout() -> None:
    """An array's content counts, not how it lies in memory."""
    array = np.arange(6).reshape(2, 3)
    assert content_digest(array) == content_digest(np.asfortranarray(array))


@pytest.mark.parametrize("value", [object(), lambda: 0, Point, np.array([object()]), [object()]])
def test_no_content(value: Any) -> None:
    """Anything else is refused by type, never hashed by its pickle."""
    with pytest.raises(DataflowError, match="has no content to go by"):
        content_digest(value)
