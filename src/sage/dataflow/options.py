"""What can be said of an operator beside its function."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sage.errors import ConfigError, UnknownKeyError


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """Options of one operator.

    Attributes:
        name: for metrics, errors and the plan; by default that of the class or function.
        parallelism: how many replicas run; None takes the environment's.
    """

    name: str | None = None
    parallelism: int | None = None

    def __post_init__(self) -> None:
        check_count("parallelism", self.parallelism)
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise ConfigError(f"name is {self.name!r}; give a text that is not empty")

    @classmethod
    def merged(cls, where: str, *layers: Mapping[str, Any]) -> Self:
        """Build from layers of keywords, the later over the earlier; None says nothing."""
        merged: dict[str, Any] = {}
        for layer in layers:
            check_option_names(layer, where=where)
            merged.update({key: value for key, value in layer.items() if value is not None})
        return cls(**merged)


OPTION_NAMES = frozenset(field.name for field in dataclasses.fields(OperatorOptions))


def check_option_names(names: Iterable[str], *, where: str) -> None:
    """Raise `UnknownKeyError` for the first name that is no option."""
    for name in names:
        if name not in OPTION_NAMES:
            raise UnknownKeyError(name, OPTION_NAMES, where=where)


def check_count(name: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is None or a whole number from 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number from 1")
