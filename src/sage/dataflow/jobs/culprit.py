"""Which part of an object keeps it from being pickled."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Culprit:
    """What cannot be pickled.

    Attributes:
        path: how it is reached, as in "Embed.client._lock".
        value: the thing itself.
        error: what pickling it raises.
    """

    path: str
    value: Any
    error: Exception

    def __str__(self) -> str:
        """Say what and why, in a few words."""
        return f"{self.path} is a {type(self.value).__qualname__} ({_one_line(self.error)})"


def find_culprit(name: str, value: Any, dumps: Callable[[Any], object]) -> Culprit | None:
    """Return the innermost part that ``dumps`` raises on; None when it takes the whole.

    Args:
        name: of the whole, with which the path begins.
        value: the whole.
        dumps: pickles.
    """
    error = _refusal(value, dumps)
    if error is None:
        return None
    found = Culprit(name, value, error)
    seen = {id(value)}
    for _ in range(_DEEPEST):
        inner = _first_refused(found, dumps, seen)
        if inner is None:
            break
        found = inner
    return found


def _first_refused(
    outer: Culprit, dumps: Callable[[Any], object], seen: set[int]
) -> Culprit | None:
    for suffix, part in _parts(outer.value):
        if id(part) in seen:
            continue
        seen.add(id(part))
        error = _refusal(part, dumps)
        if error is not None:
            return Culprit(outer.path + suffix, part, error)
    return None


def _refusal(value: Any, dumps: Callable[[Any], object]) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001 - pickling a user's object may raise anything
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object consists of, each with how it is reached from there."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        yield from _variables(value)
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items() if _written(name))
    else:
        yield from ((f".{name}", part) for name, part in _attributes(value))


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables around a function that it uses, and its defaults."""
    try:
        around = inspect.getclosurevars(function)
    except ValueError:  # a variable that has no value yet
        return
    for name, part in (*around.nonlocals.items(), *around.globals.items()):
        yield f" → {name}", part
    for index, part in enumerate(function.__defaults__ or ()):
        yield f" → default {index}", part


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)


def _written(name: str) -> bool:
    return not (name.startswith("__") and name.endswith("__")) or name == "__init__"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
