"""How records and operators are pickled for another machine."""

from __future__ import annotations

import pickle
from typing import Any


def dump(value: Any) -> bytes:
    """Pickle a value: by reference where that does, and otherwise by value.

    What a script defines itself can only go by value, which is slower: a class of the main module
    is no class of the other process's main module.

    Raises:
        Exception: whatever pickling a user's value raises.
    """
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - whatever it raises, the other way may do
        return dump_by_value(value)


def dump_by_value(value: Any) -> bytes:
    """Pickle a value with the functions and classes that a script defines.

    By reference would not do even where it can be: the main module here is not the one there.

    Raises:
        Exception: whatever pickling a user's value raises.
    """
    # Not Ray's own copy of it, which knows classes by other names than the one that a pipeline was
    # submitted with: those of a checkpoint would be others than the next driver's.
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(value)
    return pickled


def load(payload: bytes) -> Any:
    """Return what was pickled."""
    return pickle.loads(payload)  # noqa: S301 - of another process of the same job
