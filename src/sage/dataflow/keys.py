"""A hash of keys that is the same in every process, on every machine.

Python's own is salted for text (``PYTHONHASHSEED``), and None's may be an address. Keys that are
equal have equal hashes, as in a dict: ``1``, ``1.0`` and ``True`` are one key.
"""

from __future__ import annotations

import datetime as dt
import uuid
import zlib
from enum import Enum
from numbers import Number
from typing import Any

_NONE = 0x5A6E
_NAN = 0x7FF8


def key_hash(key: Any) -> int:
    """Return the hash of a key: None, text, bytes, numbers, dates, UUIDs, enum members, and tuples
    and frozensets of those.

    Raises:
        TypeError: the key is of another type.
    """
    if isinstance(key, str):
        return zlib.crc32(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, Number):
        # The hash of a number is defined by its value alone; a NaN's is not.
        return hash(key) if key == key else _NAN  # noqa: PLR0124 - false for a NaN only
    if key is None:
        return _NONE
    if isinstance(key, (tuple, frozenset)):
        hashes = map(key_hash, key)
        # A named tuple equals the plain one, so it hashes like it.
        return hash(tuple(hashes) if isinstance(key, tuple) else frozenset(hashes))
    return _other_hash(key)


def partition(key: Any, count: int) -> int:
    """Return which of ``count`` replicas a key belongs to.

    Raises:
        TypeError: the key is of a type that has no hash.
    """
    return key_hash(key) % count


def _other_hash(key: Any) -> int:
    if isinstance(key, bytes):
        return zlib.crc32(key)
    if isinstance(key, Enum):
        return key_hash(key.name)
    if isinstance(key, uuid.UUID):
        return hash(key.int)
    if isinstance(key, dt.datetime) and key.tzinfo is not None:
        return hash(key.timestamp())
    if isinstance(key, (dt.date, dt.time, dt.timedelta)):
        return key_hash(str(key))
    raise TypeError(
        f"a {type(key).__name__} cannot be a key; use text, a number, or a tuple of such"
    )
