"""The user's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.config.paths import user_paths
from sage.config.settings import Settings, load_settings
from sage.errors import ConfigError


def test_one_variable_moves_all_and_one_the_models(tmp_path: Path) -> None:
    """SAGE_HOME is the root of everything, SAGE_MODELS_DIR moves the models out of it."""
    home, models = tmp_path / "home", tmp_path / "models"
    found = user_paths(load_settings({"SAGE_HOME": str(home)}))
    assert found.root == home
    assert (found.models, found.state, found.logs, found.cache) == tuple(
        home / name for name in ("models", "state", "logs", "cache")
    )
    found = user_paths(load_settings({"SAGE_HOME": str(home), "SAGE_MODELS_DIR": str(models)}))
    assert (found.models, found.logs) == (models, home / "logs")


def test_without_a_variable_it_is_the_systems_place(isolated_home: Path) -> None:
    """User data lies where the system keeps it, and asking creates nothing."""
    found = user_paths(Settings())
    assert found.root.is_relative_to(isolated_home)
    assert found.root.name == "sage"
    assert not found.root.exists()


def test_a_tilde_and_a_relative_folder_become_absolute(isolated_home: Path) -> None:
    """Child processes with another current folder see the same place."""
    assert user_paths(Settings(home="~/mine")).root == isolated_home / "mine"
    assert user_paths(Settings(home="mine")).root == Path.cwd() / "mine"


def test_the_home_of_nobody_is_an_error_that_names_the_variable() -> None:
    """`~` of a user who does not exist is one line."""
    with pytest.raises(
        ConfigError, match="SAGE_MODELS_DIR: cannot tell where '~nobody-here-x/models' is"
    ):
        user_paths(Settings(models_dir="~nobody-here-x/models"))
