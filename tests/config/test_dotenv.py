"""Reading `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.config.dotenv import find_dotenv, read_dotenv
from sage.errors import ConfigError

TUTORIAL = """\
SAGE_LLM_PORT=8001          # SagePorts.LLM_DEFAULT, 在 WSL2 改为 8901
SAGE_CHAT_BASE_URL=http://localhost:${SAGE_LLM_PORT}/v1
SAGE_CHAT_API_KEY=           # 本地服务可留空，云端回退需填写
# a comment
export HF_TOKEN='hf_xxx'
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_tutorials_file_reads_as_meant(tmp_path: Path) -> None:
    """Comments after values go, an empty value is empty, ${…} is filled in."""
    values = read_dotenv(_write(tmp_path, TUTORIAL), {})
    assert values == {
        "SAGE_LLM_PORT": "8001",
        "SAGE_CHAT_BASE_URL": "http://localhost:8001/v1",
        "SAGE_CHAT_API_KEY": "",
        "HF_TOKEN": "hf_xxx",
    }


def test_the_environment_wins_inside_interpolation(tmp_path: Path) -> None:
    """A port given in the environment is the one the URL gets."""
    values = read_dotenv(_write(tmp_path, TUTORIAL), {"SAGE_LLM_PORT": "8901"})
    assert values["SAGE_CHAT_BASE_URL"] == "http://localhost:8901/v1"


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The error gives file, line and text."""
    path = _write(tmp_path, 'A=1\nB="open\n')
    with pytest.raises(ConfigError, match=r"\.env:2: cannot read 'B=\"open'"):
        read_dotenv(path, {})


def test_the_line_number_counts_blank_lines(tmp_path: Path) -> None:
    """The number is the one that an editor shows."""
    with pytest.raises(ConfigError, match=r"\.env:4: cannot read"):
        read_dotenv(_write(tmp_path, "A=1\n\n\nB='open\n"), {})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('MY_API_KEY="s3cret', "'MY_API_KEY …'"),
        ("SAGE_CHAT_API_KEY s3cret", "'SAGE_CHAT_API_KEY …'"),
        ("export HF_TOKEN: s3cret", "'export HF_TOKEN …'"),
        ("sk-s3cret sk-s3cret", "'sk- …'"),
    ],
)
def test_a_secret_is_not_shown_in_an_error(tmp_path: Path, line: str, shown: str) -> None:
    """A broken line that holds a key is named without its value, however it is broken."""
    with pytest.raises(ConfigError) as caught:
        read_dotenv(_write(tmp_path, line + "\n"), {})
    assert f"cannot read {shown}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_text_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 name the file instead of raising a UnicodeDecodeError."""
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot read .*\.env"):
        read_dotenv(path, {})


def test_the_nearest_file_counts_up_to_the_projects_root(tmp_path: Path) -> None:
    """A parent's file counts inside a project, and one above the project's root does not."""
    _write(tmp_path, "A=1\n")
    project = tmp_path / "project"
    inner = project / "src" / "deep"
    inner.mkdir(parents=True)
    (project / "pyproject.toml").touch()
    assert find_dotenv(inner) is None
    at_root = _write(project, "A=2\n")
    assert find_dotenv(inner) == at_root
    assert find_dotenv(inner.parent) == at_root


def test_outside_a_project_only_the_folder_itself_counts(tmp_path: Path) -> None:
    """A file that somebody left in /tmp does not steer whoever works below it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    own = _write(tmp_path, "A=1\n")
    assert find_dotenv(inner) is None
    assert find_dotenv(tmp_path) == own
