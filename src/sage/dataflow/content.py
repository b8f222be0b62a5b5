"""A digest of what a value holds: the same in every process, whatever the hash seed."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from sage.errors import DataflowError, shorten


def content_digest(*parts: Any) -> bytes:
    """Return the SHA-256 of values by their content; equal contents of unequal types differ.

    Args:
        parts: None, bools, numbers, texts, bytes, dates, decimals, UUIDs, paths, enum members,
            numpy arrays and scalars, dataclasses, and lists, tuples, sets and mappings of these.

    Raises:
        DataflowError: a value is of another type; names it. Its pickle may differ from one run to
            the next, so it is not used in its place.
    """
    return hashlib.sha256(_encoded(parts)).digest()


def _encoded(value: Any) -> bytes:
    for kinds, encode in _ENCODERS:
        if isinstance(value, kinds):
            return encode(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _array(value)
    raise _refused(value)


def _framed(tag: str, *parts: bytes) -> bytes:
    """Join parts so that no two different lists of them read alike."""
    lengths = ",".join(str(len(part)) for part in parts)
    return b"".join((f"{tag}({lengths})".encode(), *parts))


def _text(tag: str, read: Callable[[Any], str]) -> Callable[[Any], bytes]:
    return lambda value: _framed(tag, read(value).encode("utf-8", "surrogatepass"))


def _name_of(value: object) -> bytes:
    return f"{type(value).__module__}.{type(value).__qualname__}".encode()


def _enum(value: Enum) -> bytes:
    return _framed("enum", _name_of(value), value.name.encode())


def _sequence(tag: str) -> Callable[[Iterable[Any]], bytes]:
    return lambda value: _framed(tag, *(_encoded(each) for each in value))


def _set(value: Set[Any]) -> bytes:
    return _framed("set", *sorted(_encoded(each) for each in value))


def _mapping(value: Mapping[Any, Any]) -> bytes:
    items = sorted((_encoded(key), _encoded(each)) for key, each in value.items())
    return _framed("dict", *(part for item in items for part in item))


def _dataclass(value: Any) -> bytes:
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _framed("dataclass", _name_of(value), _mapping(fields))


def _array(value: Any) -> bytes:
    if value.dtype.hasobject:
        raise _refused(value)
    return _framed("array", value.dtype.str.encode(), _encoded(tuple(value.shape)), value.tobytes())


def _refused(value: object) -> DataflowError:
    return DataflowError(
        f"a {type(value).__name__} has no content to go by: {shorten(value)}; use texts, bytes, "
        "numbers, lists, dicts, numpy arrays or dataclasses, or leave out cache= and remember="
    )


# The first row that fits: a bool is an int, a datetime is a date, and an enum may be either.
_ENCODERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], bytes]], ...] = (
    (Enum, _enum),
    (str, _text("str", str)),
    (bool, _text("bool", repr)),
    (int, _text("int", int.__repr__)),
    (float, _text("float", float.__repr__)),
    (type(None), _text("none", repr)),
    ((bytes, bytearray), lambda value: _framed("bytes", bytes(value))),
    (list, _sequence("list")),
    (tuple, _sequence("tuple")),
    ((set, frozenset), _set),
    (Mapping, _mapping),
    (complex, _text("complex", repr)),
    (datetime, _text("datetime", datetime.isoformat)),
    (date, _text("date", date.isoformat)),
    (time, _text("time", time.isoformat)),
    (timedelta, _text("timedelta", repr)),
    (Decimal, _text("decimal", str)),
    (UUID, _text("uuid", str)),
    (PurePath, _text("path", str)),
)
