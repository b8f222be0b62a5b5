"""What is running, written where other commands find it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from sage.config.paths import UserPaths
from sage.config.processes import is_process
from sage.errors import EngineError


class RunningEngine(msgspec.Struct, frozen=True):
    """An engine of a running stack; pid is None between two lives.

    Attributes:
        node: the cluster's node that it runs on, where pid is one of that node's; empty while it
            has none; None for an engine on this machine.
        note: what it waits for; empty for nothing.
    """

    id: str
    kind: str
    engine: str
    model: str
    host: str
    port: int
    url: str
    status: str
    log: str
    pid: int | None
    pid_created: float | None
    deaths: int
    node: str | None = None
    note: str = ""


class StackState(msgspec.Struct, frozen=True):
    """A running stack.

    Attributes:
        pid: the process with supervisor and gateway.
        pid_created: its start, in seconds since the epoch: a pid alone may be reused.
        gateway_url: base URL without /v1.
        ready: whether every engine was healthy and the gateway answered.
        arguments: what ``sage llm serve`` was called with, for a restart.
        engines: its engines.
        folder: where it was started, which relative paths among the arguments start from.
        needs_key: whether its gateway answers only requests that come with a key.
    """

    pid: int
    pid_created: float
    gateway_url: str
    gateway_port: int
    ready: bool
    arguments: list[str]
    engines: list[RunningEngine]
    folder: str = "."
    needs_key: bool = False

    @property
    def alive(self) -> bool:
        """Whether the stack's process is still there."""
        return is_process(self.pid, self.pid_created)


def state_file(paths: UserPaths, name: str = "stack") -> Path:
    """Return where the state lies, of the stack or of a gateway on its own."""
    return paths.state / f"{name}.json"


def read_state(paths: UserPaths, name: str = "stack") -> StackState | None:
    """Return the state that was written last, of a stack that may be gone by now, or None."""
    try:
        return msgspec.json.decode(state_file(paths, name).read_bytes(), type=StackState)
    except (OSError, msgspec.DecodeError):
        return None


def write_state(paths: UserPaths, state: StackState, name: str = "stack") -> None:
    """Write the state so that a reader sees the old one or the new one, never half of one.

    Raises:
        EngineError: the folder cannot be written; says why and what to do.
    """
    path = state_file(paths, name)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path.parent, error) from error


def remove_state(paths: UserPaths, pid: int, name: str = "stack") -> None:
    """Forget the stack of that pid, unless another one has written its state since.

    What cannot be removed is recognised as stale by its pid.
    """
    state = read_state(paths, name)
    if state is None or state.pid == pid:
        with contextlib.suppress(OSError):
            state_file(paths, name).unlink(missing_ok=True)


def cannot_write(folder: Path, error: OSError) -> EngineError:
    """Return the one-line error for a state folder that cannot be written."""
    return EngineError(
        f"cannot write to {folder}: {error.strerror or error}; free space or fix its permissions, "
        "or set SAGE_HOME to another folder"
    )
