"""Pickling by cloudpickle, which takes the code of a script along."""

from __future__ import annotations

import pickle
from typing import Any

from sage.errors import ConfigError


def load_cloudpickle() -> Any:
    """Return the cloudpickle package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cloudpickle
    except ImportError:
        raise ConfigError(
            "cloudpickle is not installed; run: pip install 'sage-stack[ray]'"
        ) from None
    return cloudpickle


def dump(value: Any) -> bytes:
    """Pickle a value: by reference where that does, and otherwise with the code of its classes.

    Those of a script are in no module of the driver's.

    Raises:
        Exception: whatever pickling a user's value raises.
    """
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - whatever it raises, the other way may do
        pickled: bytes = load_cloudpickle().dumps(value)
        return pickled
