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
# Everything up to the end of a secret's name, or of the prefix that gives a bare one away.
_SECRET = re.compile(r"\w*(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)\w*|\b(sk-|hf_)", re.IGNORECASE)


def find_dotenv(start: Path) -> Path | None:
    """Return the `.env` that holds for a folder.

    That is the nearest one from ``start`` up to its project's root. Outside a project only
    ``start`` itself counts: a file that someone else left further up (in ``/tmp``, say) is not
    the user's.
    """
    nearest: Path | None = None
    for folder in (start, *start.parents):
        if nearest is None and _there(folder / ".env"):
            nearest = folder / ".env"
        if any(_there(folder / marker) for marker in _ROOT_MARKERS):
            return nearest
    return start / ".env" if _there(start / ".env") else None


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be searched
        return False


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
    text = binding.original.string
    # The parser counts from the blank lines before the one that it could not read.
    blank = len(text) - len(text.lstrip())
    number = binding.original.line + len(text[:blank].splitlines())
    shown = next(iter(text.strip().splitlines()), "")
    if secret := _SECRET.search(shown):
        shown = shown[: secret.end()].rstrip("= ") + " …"
    return f"{path}:{number}: cannot read {shown!r}; write NAME=value, and close every quote"
