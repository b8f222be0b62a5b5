"""Keys hash alike in every process."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections import Counter, namedtuple
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow.keys import key_hash, partition

SCRIPT = """
import datetime, uuid
from enum import Enum
from sage.dataflow.keys import key_hash
Colour = Enum("Colour", "RED")
keys = [None, "", "text", b"", b"bytes", 0, -1, 2**80, 0.0, 1.5, float("nan"), float("inf"), False,
        (), ("a", 0, None), frozenset({"a", "b", None}), uuid.UUID(int=7), Colour.RED,
        datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc)]
print([key_hash(key) for key in keys])
"""


def test_the_same_in_every_process() -> None:
    """PYTHONHASHSEED and the process change nothing, for falsy keys too."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1


Point = namedtuple("Point", "x y")


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, -0.0),
        (1, Decimal(1)),
        (Point(1, 2), (1, 2.0)),
        (Colour.RED, "red"),
        (
            dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC),
            dt.datetime(2024, 1, 1, 13, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        ),
    ],
)
def test_equal_keys_have_equal_hashes(one: Any, other: Any) -> None:
    """What is one key in a dict goes to one replica."""
    assert one == other
    assert key_hash(one) == key_hash(other)


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats() | st.binary() | st.uuids(),
        lambda keys: st.lists(keys, max_size=3).map(tuple),
    ),
    st.integers(1, 64),
)
@settings(deadline=None)
def test_partition_in_range(key: Any, count: int) -> None:
    """Every key belongs to one of the replicas."""
    assert 0 <= partition(key, count) < count


def test_keys_spread() -> None:
    """A thousand names spread over four replicas, none of which has less than a fifth."""
    parts = Counter(partition(f"user-{number}", 4) for number in range(1000))
    assert min(parts.values()) > 200


@pytest.mark.parametrize("key", [[1], {"a": 1}, object(), (1, [2])])
def test_what_cannot_be_a_key(key: Any) -> None:
    """Other types are refused by name."""
    with pytest.raises(TypeError, match="cannot be a key"):
        key_hash(key)


class Plain(Enum):
    A = 1


def test_enum_members() -> None:
    """Members of an enum hash by their name."""
    assert key_hash(Plain.A) == key_hash("A")
    assert key_hash(uuid.UUID(int=3)) == 3
