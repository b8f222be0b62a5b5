"""What several tests share."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable

import psutil

from sage.inference.engines.plan import StackConfig

# The packaged engines on whatever ports are free, so that two runs side by side do not meet.
ANY_PORTS = StackConfig(gateway_port=0, llm_port=0, embedding_port=0)


def running(pids: Iterable[int]) -> list[int]:
    """Return those of the processes that still run; one that only waits to be reaped does not."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def unused_port() -> int:
    """Return a port of the loopback address that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, failing when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
