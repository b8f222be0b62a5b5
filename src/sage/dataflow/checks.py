"""Checks that several settings share."""

from __future__ import annotations

import math

from sage.errors import ConfigError


def check_count(name: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is None or a whole number from 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number from 1")


def check_seconds(name: str, value: object, *, above: bool = False) -> None:
    """Raise `ConfigError` unless ``value`` is a finite number of seconds.

    Args:
        name: what it is, for the message.
        value: what was given.
        above: whether it must be above 0; 0 is right too otherwise.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not _fits(value, above):
        raise ConfigError(f"{name} is {value!r}; give seconds {'above' if above else 'from'} 0")


def _fits(number: float, above: bool) -> bool:
    # A NaN compares false, so it does not fit.
    return (number > 0 if above else number >= 0) and number < math.inf


def check_amount(name: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is None or a finite number from 0."""
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not _fits(value, False):
        raise ConfigError(f"{name} is {value!r}; give a number from 0")
