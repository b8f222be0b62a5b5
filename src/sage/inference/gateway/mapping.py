"""From a mapping, as files and requests hold it, to a validated configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from sage.errors import ConfigError, UnknownKeyError

T = TypeVar("T")


def from_mapping(kind: type[T], values: object, *, where: str) -> T:
    """Return a configuration dataclass made from a mapping, and from those inside it.

    Args:
        kind: the dataclass.
        values: the mapping; keys are the dataclass's fields.
        where: what holds it, for messages.

    Raises:
        UnknownKeyError: a key that there is not, at any depth; names the nearest.
        ConfigError: a value of the wrong type, or one the dataclass refuses.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping of keys to values, not {_name(values)}")
    _check_keys(kind, values, where)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_keys(kind: type[Any], values: Mapping[str, Any], where: str) -> None:
    names = [item.name for item in dataclasses.fields(kind)]
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        if key not in names:
            raise UnknownKeyError(str(key), names, where=where)
        inner = _dataclass_in(hints[key])
        if inner is not None:
            for item, place in _mappings(hints[key], value, f"{where}: {key}"):
                _check_keys(inner, item, place)


def _mappings(hint: Any, value: Any, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the mappings in a value that stand for dataclasses, each with its place."""
    items: Iterable[tuple[Any, str]] = ()
    if isinstance(value, Mapping):
        if typing.get_origin(hint) is Mapping:
            items = ((item, f"{where}: {name}") for name, item in value.items())
        else:
            items = ((value, where),)
    elif isinstance(value, Sequence):
        items = ((item, f"{where} {number}") for number, item in enumerate(value, 1))
    for item, place in items:
        if isinstance(item, Mapping):
            yield item, place


def _dataclass_in(hint: Any) -> type[Any] | None:
    if dataclasses.is_dataclass(hint):
        return typing.cast("type[Any]", hint)
    if isinstance(hint, types.GenericAlias) or typing.get_origin(hint) is not None:
        for argument in typing.get_args(hint):
            if (found := _dataclass_in(argument)) is not None:
                return found
    return None


def _name(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
