"""How errors reach the terminal."""

from __future__ import annotations

import click
import pytest

from sage.cli.run import run_cli
from sage.errors import ConfigError, EngineStartError


def _failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sage"])


def test_a_sage_error_is_one_line_and_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever newlines a message holds, the terminal shows one line."""
    assert run_cli(_failing(ConfigError("port is 'x'\nwrite a number")), "sage") == 2
    assert capsys.readouterr().err == "error: port is 'x' write a number\n"


def test_an_engine_that_did_not_start_shows_its_last_log_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The log lines follow the error, so nobody has to look for the file first."""
    error = EngineStartError("llm-1 died", log_tail=["loading", "bad magic"])
    assert run_cli(_failing(error), "sage") == 4
    assert capsys.readouterr().err == "error: llm-1 died\n  | loading\n  | bad magic\n"


def test_interrupt_exits_as_shells_expect() -> None:
    """Ctrl-C prints no traceback and exits with 130."""
    assert run_cli(_failing(KeyboardInterrupt()), "sage") == 130


def test_a_defect_keeps_its_traceback() -> None:
    """An exception that is not a SageError is a bug and must not be dressed up."""
    with pytest.raises(ZeroDivisionError):
        run_cli(_failing(ZeroDivisionError()), "sage")


def test_a_commands_return_value_is_the_exit_code() -> None:
    """A command that returns an int exits with it."""

    @click.command()
    def command() -> int:
        return 7

    assert run_cli(command, "sage") == 7
