"""Where SAGE keeps a user's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from sage.config.settings import Settings, load_settings


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
    """Return the user's folders.

    ``SAGE_HOME`` moves all of them, ``SAGE_MODELS_DIR`` the models alone; without either they lie
    in the system's own place for user data (``~/.local/share/sage`` on Linux).
    """
    settings = settings or load_settings()
    root = (
        Path(settings.home).expanduser() if settings.home else platformdirs.user_data_path("sage")
    )
    root = root.absolute()
    models = Path(settings.models_dir).expanduser() if settings.models_dir else root / "models"
    return UserPaths(
        root=root,
        models=models.absolute(),
        state=root / "state",
        logs=root / "logs",
        cache=root / "cache",
    )
