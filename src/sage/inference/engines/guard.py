"""Runs an engine so that it cannot outlive whoever started it.

    python -m sage.inference.engines.guard FD COMMAND [ARGUMENT ...]

FD is the read end of a pipe whose write end only the supervisor holds. The process becomes the
engine (so its pid is the engine's); a small watcher beside it waits on the pipe. When the
supervisor is gone, however it went, or when the engine's first process is, the watcher ends every
process that is left in the group. vLLM, which starts workers of its own, needs no change for this.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

_POLL_S = 0.5
_GRACE_S = 3.0


def main() -> None:
    """Start the watcher, then become the engine."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    engine = os.getpid()
    if os.fork() == 0:
        _watch(lifeline, engine)
        os._exit(0)
    os.close(lifeline)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor built this argument list
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


def _watch(lifeline: int, engine: int) -> None:
    # The group's own end is the watcher's to bring about, so it must not be taken down by it.
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    while os.getppid() == engine:
        readable, _, _ = select.select([lifeline], [], [], _POLL_S)
        if readable:
            os.killpg(0, signal.SIGTERM)
            _wait_for_end_of(engine)
            break
    os.killpg(0, signal.SIGKILL)


def _wait_for_end_of(engine: int) -> None:
    deadline = time.monotonic() + _GRACE_S
    while os.getppid() == engine and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
