"""Reading `.env` files strictly: a line that cannot be read is an error, not a warning."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sage.errors import ConfigError

if TYPE_CHECKING:
    from dotenv.parser import Binding

_ROOT_MARKERS = (".git", "pyproject.toml")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


def find_dotenv(start: Path) -> Path | None:
    """Return the nearest `.env` at ``start`` or above, not above the project's root."""
    for folder in (start, *start.parents):
        candidate = folder / ".env"
        if candidate.is_file():
            return candidate
        if any((folder / marker).exists() for marker in _ROOT_MARKERS):
            return None
    return None


def read_dotenv(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Read a `.env` file with ``${NAME}`` and ``${NAME:-default}`` filled in.

    Args:
        path: the file, in UTF-8.
        environ: where names are looked up first; then come the file's own earlier lines.

    Raises:
        ConfigError: the file cannot be read, or a line of it is not ``NAME=value``.
    """
    # 18 ms to import, and most users have no .env file.
    from dotenv.parser import parse_stream
    from dotenv.variables import parse_variables

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise ConfigError(_complaint(path, binding))
        if binding.key is None:
            continue
        names = {**values, **environ}
        atoms = parse_variables(binding.value or "")
        values[binding.key] = "".join(atom.resolve(names) for atom in atoms)
    return values


def _complaint(path: Path, binding: Binding) -> str:
    line = binding.original.string.strip().splitlines()
    shown = line[0] if line else ""
    if _SECRET_NAME.search(shown):
        shown = shown.split("=", 1)[0] + "=…"
    return (
        f"{path}:{binding.original.line}: cannot read {shown!r}; "
        "write NAME=value, with quotes closed on both sides"
    )
