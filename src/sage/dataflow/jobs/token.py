"""The bearer token: whoever has it may run code as the manager's user."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from sage.config.paths import user_paths
from sage.config.settings import load_settings
from sage.errors import ConfigError


def token_file(root: Path | None = None) -> Path:
    """Return where the token lies, in the user's data folder or in another one."""
    return (root or user_paths().root) / "jobs" / "token"


def make_token(path: Path) -> str:
    """Return the token in the file; at the first start, make one that only this user may read.

    Raises:
        ConfigError: others may read the file, or it is empty.
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        token = secrets.token_urlsafe(32)
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def read_token(path: Path) -> str:
    """Return the token in the file.

    Raises:
        ConfigError: others may read it, or it is empty.
        OSError: it is not there, or cannot be read.
    """
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{path}, the job manager's token, is open to other users, who could run code as you; "
            f"remove it and restart the job manager, or run chmod 600 {path}"
        )
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not token:
        raise ConfigError(f"{path} holds no token; remove it and start the job manager again")
    return token


def client_token(given: str | None) -> str | None:
    """Return the token that a client shows.

    Args:
        given: by the caller. Without it, ``SAGE_JOB_MANAGER_TOKEN`` holds, and then the file of a
            manager of this user's on this machine.

    Raises:
        ConfigError: the file is open to others.
    """
    if given:
        return given
    settings = load_settings()
    if settings.job_manager_token:
        return settings.job_manager_token
    try:
        return read_token(token_file(user_paths(settings).root))
    except OSError:
        return None
