"""Typed settings from the environment and `.env`."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.config import settings as module
from sage.config.settings import describe_settings, load_settings
from sage.errors import ConfigError, SageError


@pytest.fixture(autouse=True)
def _forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_warned", set())


def test_nothing_set_is_all_none() -> None:
    """Unset is None, so that each caller's default is its own."""
    assert load_settings({}).chat_model is None
    assert load_settings({}).llm_port is None


def test_values_are_typed_and_empty_is_unset() -> None:
    """Ports are numbers, URLs lose their last slash, an empty value is an unset one."""
    found = load_settings(
        {"SAGE_LLM_PORT": "8901", "SAGE_CHAT_BASE_URL": "http://x/v1/", "SAGE_CHAT_MODEL": ""}
    )
    assert (found.llm_port, found.chat_base_url, found.chat_model) == (8901, "http://x/v1", None)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """What the shell says is nearer to the user than a file."""
    path = tmp_path / "my.env"
    path.write_text("SAGE_LLM_PORT=8001\nSAGE_EMBEDDING_PORT=8090\n", encoding="utf-8")
    found = load_settings({"SAGE_LLM_PORT": "9001"}, dotenv=path)
    assert (found.llm_port, found.embedding_port) == (9001, 8090)


def test_the_file_of_the_current_folder_is_read() -> None:
    """`.env` beside the work is found without being named."""
    Path(".env").write_text("SAGE_CHAT_MODEL=m\n", encoding="utf-8")
    assert load_settings({}).chat_model == "m"


def test_an_empty_variable_leaves_the_file_standing(tmp_path: Path) -> None:
    """Empty is unset in both, also inside ${…}: container tools pass empty variables on."""
    path = tmp_path / "my.env"
    path.write_text(
        "SAGE_LLM_PORT=8001\nSAGE_CHAT_BASE_URL=http://localhost:${SAGE_LLM_PORT}/v1\n",
        encoding="utf-8",
    )
    found = load_settings({"SAGE_LLM_PORT": ""}, dotenv=path)
    assert (found.llm_port, found.chat_base_url) == (8001, "http://localhost:8001/v1")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A typing error in the file's name is not an empty file."""
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.env"):
        load_settings({}, dotenv=tmp_path / "absent.env")


@pytest.mark.parametrize(
    "text",
    ["localhost:8001", "ftp://x/v1", "http://", "http://x:/v1", "http://x:99999", "http://a b"],
)
def test_a_url_that_cannot_be_called_is_named(text: str) -> None:
    """A port that ${…} left empty is found when it is read, not when it is called."""
    with pytest.raises(
        ConfigError, match=r"SAGE_CHAT_BASE_URL in the environment: .* names a host"
    ):
        load_settings({"SAGE_CHAT_BASE_URL": text})


def test_a_value_from_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    """Whoever has to correct it knows where."""
    path = tmp_path / ".env"
    path.write_text("SAGE_LLM_PORT=eight\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings({}, dotenv=path)
    assert str(caught.value).startswith(f"SAGE_LLM_PORT in {path}: 'eight' is not a port")


@pytest.mark.parametrize("text", ["0", "65536", "eight", "-1", "80.5", "8_001", "٨٠٠١"])
def test_a_port_that_is_none_is_named_with_its_place(text: str) -> None:
    """The error has the variable, the value and where it came from."""
    with pytest.raises(ConfigError) as caught:
        load_settings({"SAGE_LLM_PORT": text})
    message = str(caught.value)
    assert message == (f"SAGE_LLM_PORT in the environment: {text!r} is not a port from 1 to 65535")


def test_a_typing_error_is_answered_with_the_nearest_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unknown SAGE_ name is warned about once, not swallowed and not repeated."""
    with caplog.at_level(logging.WARNING):
        load_settings({"SAGE_LMM_PORT": "1"})
        load_settings({"SAGE_LMM_PORT": "1"})
    assert [record.getMessage() for record in caplog.records] == [
        "the environment sets SAGE_LMM_PORT, which SAGE does not read; did you mean SAGE_LLM_PORT?"
    ]


def test_secrets_stay_out_of_the_repr() -> None:
    """Settings can be logged."""
    found = load_settings({"SAGE_CHAT_API_KEY": "sk-1", "HF_TOKEN": "hf-2"})
    assert found.chat_api_key == "sk-1"
    assert "sk-1" not in repr(found)
    assert "hf-2" not in repr(found)


def test_every_setting_is_described() -> None:
    """The documentation's table and the class are one thing."""
    rows = describe_settings()
    assert {row.variable for row in rows} >= {"SAGE_LLM_PORT", "HF_ENDPOINT", "SAGE_HOME"}
    assert all(row.doc and row.default and row.expected for row in rows)


NAMES = st.sampled_from([row.variable for row in describe_settings()])


@given(st.dictionaries(NAMES, st.text(max_size=20)))
def test_no_value_raises_anything_but_our_own_error(environ: dict[str, str]) -> None:
    """Whatever the environment holds, the answer is settings or a SageError."""
    with contextlib.suppress(SageError):
        load_settings(environ)


# Backslashes and ${ mean something inside double quotes; the rest is taken as it stands.
TEXTS = st.text(st.characters(exclude_characters='\\$"', exclude_categories=["C", "Z"]), min_size=1)
PORTS = st.integers(1, 65535)


@given(port=PORTS, gateway=PORTS, model=TEXTS, key=TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_and_the_environment_say_the_same(
    tmp_path: Path, port: int, gateway: int, model: str, key: str
) -> None:
    """Values that go through `.env` come back as they would from the environment."""
    values = {
        "SAGE_LLM_PORT": str(port),
        "SAGE_GATEWAY_PORT": str(gateway),
        "SAGE_CHAT_MODEL": model,
        "SAGE_CHAT_API_KEY": key,
    }
    path = tmp_path / "round.env"
    path.write_text("".join(f'{name}="{text}"\n' for name, text in values.items()), "utf-8")
    from_file = load_settings({}, dotenv=path)
    assert from_file == load_settings(values)
    assert (from_file.llm_port, from_file.chat_model) == (port, model)
    assert (from_file.gateway_port, from_file.chat_api_key) == (gateway, key)
