"""Where replicas live."""

from __future__ import annotations

from enum import StrEnum

from sage.dataflow.choices import read_choice


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
    return read_choice(Workers, value, "workers")
