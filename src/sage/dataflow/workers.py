"""Where replicas live."""

from __future__ import annotations

from enum import StrEnum

from sage.errors import ConfigError


class Workers(StrEnum):
    """Where replicas live."""

    THREAD = "thread"
    PROCESS = "process"
    INLINE = "inline"


def read_workers(value: object) -> Workers:
    """Return the member of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return Workers(str(value))
    except ValueError:
        choices = ", ".join(repr(choice.value) for choice in Workers)
        raise ConfigError(f"workers is {value!r}; choose one of {choices}") from None
