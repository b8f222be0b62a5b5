"""Options that are one of a few words."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from sage.errors import ConfigError

Choice = TypeVar("Choice", bound=StrEnum)


def read_choice(choices: type[Choice], value: object, option: str) -> Choice:
    """Return the member of that name.

    Args:
        choices: what there is.
        value: what was given.
        option: where it was given.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return choices(str(value))
    except ValueError:
        known = ", ".join(repr(choice.value) for choice in choices)
        raise ConfigError(f"{option} is {value!r}; choose one of {known}") from None
