"""Where SAGE keeps a user's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from sage.config.settings import Settings, load_settings
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class UserPaths:
    """The folders of one user. Whoever writes into one creates it.

    Attributes:
        root: the folder above the others.
        models: installed packaged models, one folder each.
        state: what is running now.
        logs: one log file an instance.
        cache: what can be made again.
    """

    root: Path
    models: Path
    state: Path
    logs: Path
    cache: Path


def user_paths(settings: Settings | None = None) -> UserPaths:
    """Return the user's folders, all absolute.

    ``SAGE_HOME`` moves all of them, ``SAGE_MODELS_DIR`` the models alone; without either they lie
    in the system's own place for user data (``~/.local/share/sage`` on Linux).

    Raises:
        ConfigError: a folder's name means no place (the ``~`` of a user who is not there).
    """
    settings = settings or load_settings()
    if settings.home:
        root = _folder("SAGE_HOME", settings.home)
    else:
        root = platformdirs.user_data_path("sage").absolute()
    models = root / "models"
    if settings.models_dir:
        models = _folder("SAGE_MODELS_DIR", settings.models_dir)
    return UserPaths(
        root=root, models=models, state=root / "state", logs=root / "logs", cache=root / "cache"
    )


def _folder(variable: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"{variable}: cannot tell where {text!r} is ({error}); give a full path"
        ) from error
