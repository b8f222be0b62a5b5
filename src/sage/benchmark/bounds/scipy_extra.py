"""SciPy, where it is installed."""

from __future__ import annotations

from typing import Any

from sage.errors import ConfigError


def solver() -> tuple[Any, Any, Any]:
    """Return NumPy, ``scipy.optimize.linprog`` and ``scipy.sparse``.

    Raises:
        ConfigError: they are not installed; the message says how to get them.
    """
    try:
        import numpy as np
        from scipy import sparse
        from scipy.optimize import linprog
    except ImportError as error:
        raise ConfigError(f"bounds need SciPy ({error}); pip install 'sage-stack[bench]'") from None
    return np, linprog, sparse
