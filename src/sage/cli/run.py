"""The one place where errors become a line on the terminal and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import click

from sage.errors import EngineStartError, SageError

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run_cli(command: click.Command, name: str) -> int:
    """Run a click command and return its exit code.

    A `SageError` prints ``error: <message>`` on stderr and gives its own code, wrong usage gives 2,
    Ctrl-C 130. Anything else is a defect of ours and keeps its traceback.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        result = command.main(prog_name=name, standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe left (`sage llm logs | head`); Python must not try to flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (click.ClickException, SageError) as error:
        for line in _describe(error, name):
            print(line, file=sys.stderr)
        return error.exit_code
    return result if isinstance(result, int) else 0


def _describe(error: click.ClickException | SageError, name: str) -> Iterator[str]:
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, click.UsageError):
        message += f" See '{error.ctx.command_path if error.ctx else name} --help'."
    yield f"error: {' '.join(message.splitlines())}"
    if isinstance(error, EngineStartError):
        yield from (f"  | {line}" for line in error.log_tail)
