"""Which SAGE is installed."""

from __future__ import annotations

import importlib.metadata


def sage_version() -> str:
    """Return the version of the installed package; ``unknown`` when run from bare sources."""
    try:
        return importlib.metadata.version("sage-stack")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
