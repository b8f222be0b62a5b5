"""Checks that several settings share."""

from __future__ import annotations

from sage.errors import ConfigError


def check_count(name: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is None or a whole number from 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number from 1")
