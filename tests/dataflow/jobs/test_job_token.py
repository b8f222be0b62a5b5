"""The job manager's token."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sage.config.paths import user_paths
from sage.dataflow.jobs.token import client_token, make_token, read_token, token_file
from sage.errors import ConfigError


def test_it_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    """The next manager has the same one."""
    path = tmp_path / "jobs" / "token"
    token = make_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert make_token(path) == token
    assert make_token(tmp_path / "other") != token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_one_that_others_may_see_or_set_is_refused(tmp_path: Path, mode: int) -> None:
    """With the way out."""
    path = tmp_path / "token"
    make_token(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path)


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    """Whoever showed nothing would be let in."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        make_token(path)


def test_a_client_shows_what_it_is_given_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the environment's, then that of the user's own manager; without any, none."""
    assert client_token(None) is None
    own = make_token(token_file())
    assert token_file() == user_paths().root / "jobs" / "token"
    assert client_token(None) == own
    monkeypatch.setenv("SAGE_JOB_MANAGER_TOKEN", "theirs")
    assert client_token(None) == "theirs"
    assert client_token("given") == "given"
