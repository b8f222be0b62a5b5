"""Stopping a stack from outside, also one whose own process is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

from sage.config.paths import UserPaths
from sage.config.processes import is_process
from sage.errors import EngineError
from sage.inference.engines.state import StackState, read_state, remove_state

_GRACE_S = 20.0
_KILL_S = 5.0
_POLL_S = 0.05


def stop_stack(paths: UserPaths, name: str = "stack") -> int:
    """Stop the stack and whatever is left of it; return how many processes were stopped.

    The stack is asked first, and stops its engines itself. What does not end in 20 s is killed,
    as are engines that outlived their stack.

    Raises:
        EngineError: a process could not be stopped.
    """
    state = read_state(paths, name)
    if state is None:
        return 0
    ours = _alive(state)
    elsewhere = 0
    if state.alive:
        # Those on a cluster are the stack's to stop; should it be killed instead, Ray ends them.
        elsewhere = sum(1 for engine in state.engines if engine.node and engine.pid is not None)
        _signal(state.pid, signal.SIGTERM)
        _wait_for_end(ours, _GRACE_S)
    _end(state, ours)
    remove_state(paths, state.pid, name)
    return len(ours) + elsewhere


def clear_stale(paths: UserPaths) -> int:
    """End engines that have outlived their stack; return how many there were.

    Only for whoever holds the stack's lock: the state is then that of a stack that is gone.

    Raises:
        EngineError: a process could not be stopped.
    """
    state = read_state(paths)
    if state is None or state.alive:
        return 0
    ours = _alive(state)
    _end(state, ours)
    return len(ours)


def _end(state: StackState, ours: list[tuple[int, float]]) -> None:
    for pid, created in ours:
        if is_process(pid, created):
            _kill(pid, is_engine=pid != state.pid)
    _wait_for_end(ours, _KILL_S)
    left = [pid for pid, created in ours if is_process(pid, created)]
    if left:
        raise EngineError(f"could not stop processes {', '.join(map(str, left))}; are they yours?")


def _alive(state: StackState) -> list[tuple[int, float]]:
    pids = [(state.pid, state.pid_created)]
    pids += [
        (engine.pid, engine.pid_created)
        for engine in state.engines
        if engine.node is None and engine.pid is not None and engine.pid_created is not None
    ]
    return [(pid, created) for pid, created in pids if is_process(pid, created)]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _kill(pid: int, *, is_engine: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        if is_engine:
            # An engine leads a group of its own; its workers go with it.
            os.killpg(pid, signal.SIGKILL)
        else:
            psutil.Process(pid).kill()


def _wait_for_end(processes: list[tuple[int, float]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(is_process(*process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
