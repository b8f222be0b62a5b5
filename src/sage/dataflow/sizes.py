"""Numbers of bytes, as people write them."""

from __future__ import annotations

import re

from sage.errors import ConfigError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def read_size(name: str, value: object) -> int:
    """Return a number of bytes, written as one or as in "4GB", "512 MiB".

    Args:
        name: of the setting, for the error.
        value: what was written.

    Raises:
        ConfigError: it is no size, or 0.
    """
    size = 0
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = int(float(match[1]) * _UNITS.get(match[2].upper(), 0))
    if size <= 0:
        raise ConfigError(f"{name} is {value!r}; give bytes, or a text such as '4GB' or '512MiB'")
    return size


def size_text(size: float) -> str:
    """Return a number of bytes as people write it, as in "1.5 GB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
