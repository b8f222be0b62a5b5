"""What is written of a running stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sage.config.paths import user_paths
from sage.config.processes import created, is_process
from sage.errors import EngineError
from sage.inference.engines.control import clear_stale, stop_stack
from sage.inference.engines.state import (
    RunningEngine,
    StackState,
    read_state,
    remove_state,
    state_file,
    write_state,
)


def _state(pid: int, pid_created: float, engines: list[RunningEngine] | None = None) -> StackState:
    return StackState(
        pid=pid,
        pid_created=pid_created,
        gateway_url="http://127.0.0.1:1",
        gateway_port=1,
        ready=True,
        arguments=["--model", "m"],
        engines=engines or [],
    )


def _engine(pid: int, pid_created: float) -> RunningEngine:
    return RunningEngine(
        id="llm-1",
        kind="llm",
        engine="llama.cpp",
        model="m",
        host="127.0.0.1",
        port=1,
        url="http://127.0.0.1:1",
        status="healthy",
        log="/dev/null",
        pid=pid,
        pid_created=pid_created,
        deaths=0,
    )


def _sleeper() -> tuple[subprocess.Popen[bytes], float]:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, start_new_session=True)
    started = created(process.pid)
    assert started is not None
    return process, started


def test_what_is_written_is_read_back() -> None:
    """And nothing else lies beside it."""
    paths = user_paths()
    state = _state(os.getpid(), created(os.getpid()) or 0)
    write_state(paths, state)
    assert read_state(paths) == state
    assert [path.name for path in paths.state.iterdir()] == ["stack.json"]
    assert state.alive


def test_a_reused_pid_is_not_the_stack() -> None:
    """A pid counts only with the time its process started."""
    started = created(os.getpid())
    assert started is not None
    assert is_process(os.getpid(), started)
    assert not is_process(os.getpid(), started - 60)


def test_a_file_that_is_not_ours_is_no_state() -> None:
    """Garbage in the file is the same as no file."""
    path = state_file(user_paths())
    path.parent.mkdir(parents=True)
    path.write_text("{not json", encoding="utf-8")
    assert read_state(user_paths()) is None


def test_a_folder_that_cannot_be_written_is_one_line(
    isolated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way out."""
    (isolated_home / "sage").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(EngineError, match=r"cannot write to .*SAGE_HOME"):
        write_state(user_paths(), _state(1, 0))


def test_stopping_ends_engines_that_outlived_their_stack() -> None:
    """A stale state is cleaned up, its engines included."""
    process, started = _sleeper()
    write_state(user_paths(), _state(2**22 + 1, 0.0, [_engine(process.pid, started)]))
    assert stop_stack(user_paths()) == 1
    assert process.wait(timeout=10) == -9
    assert read_state(user_paths()) is None


def test_stopping_leaves_a_process_alone_that_only_has_the_pid() -> None:
    """Whoever got an engine's old pid is not killed."""
    process, started = _sleeper()
    write_state(user_paths(), _state(2**22 + 1, 0.0, [_engine(process.pid, started - 60)]))
    assert stop_stack(user_paths()) == 0
    assert process.poll() is None
    process.kill()
    process.wait()


def test_the_pid_of_a_process_on_another_node_is_none_of_this_machine() -> None:
    """An engine of a cluster is its stack's to stop."""
    process, started = _sleeper()
    engine = msgspec.structs.replace(_engine(process.pid, started), node="gpu-1")
    write_state(user_paths(), _state(2**22 + 1, 0.0, [engine]))
    assert stop_stack(user_paths()) == 0
    assert process.poll() is None
    process.kill()
    process.wait()


def test_stopping_nothing_is_nothing() -> None:
    """It can be said twice."""
    assert stop_stack(user_paths()) == 0


def test_a_full_disk_is_one_line_and_leaves_the_last_state() -> None:
    """No half-written file takes its place."""
    paths = user_paths()
    before = _state(os.getpid(), 1.0)
    write_state(paths, before)
    (paths.state / f"stack.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(EngineError, match=r"cannot write to .*: No space left on device; free"):
        write_state(paths, _state(os.getpid(), 2.0))
    assert read_state(paths) == before
    assert [path.name for path in paths.state.iterdir()] == ["stack.json"]


def test_only_the_stack_itself_is_forgotten() -> None:
    """A stack that started meanwhile keeps its state."""
    paths = user_paths()
    write_state(paths, _state(os.getpid(), 1.0))
    remove_state(paths, os.getpid() + 1)
    assert read_state(paths) is not None
    remove_state(paths, os.getpid())
    assert read_state(paths) is None


def test_what_outlived_a_stack_is_ended_before_the_next() -> None:
    """Its engines would hold the ports."""
    process, started = _sleeper()
    write_state(user_paths(), _state(2**22 + 1, 0.0, [_engine(process.pid, started)]))
    assert clear_stale(user_paths()) == 1
    assert process.wait(timeout=10) == -9


def test_the_engines_of_a_living_stack_are_not_stale() -> None:
    """They belong to it."""
    process, started = _sleeper()
    engines = [_engine(process.pid, started)]
    write_state(user_paths(), _state(os.getpid(), created(os.getpid()) or 0, engines))
    assert clear_stale(user_paths()) == 0
    assert process.poll() is None
    process.kill()
    process.wait()
