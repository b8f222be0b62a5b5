"""Ray, which is imported only by who uses it."""

from __future__ import annotations

from typing import Any

from sage.errors import ConfigError


def load_ray() -> Any:
    """Return the module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"Ray is not installed ({error}); run: pip install 'sage-stack[ray]'"
        ) from error
    return ray
