"""Default ports, each named once."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

from sage.errors import ConfigError

LOOPBACK = "127.0.0.1"  # the literal: `localhost` may mean ::1 first


def is_wsl(version_file: Path = Path("/proc/version")) -> bool:
    """Whether this is Linux inside Windows (WSL), by the kernel's own version line."""
    return _is_wsl(version_file)


@functools.cache
def _is_wsl(version_file: Path) -> bool:
    try:
        return "microsoft" in version_file.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False


def can_bind(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now; nothing stays bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port in TIME_WAIT is free, one with a listener is not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError):
        return False
    return True


class SagePorts:
    """The ports that SAGE's parts listen on unless told otherwise. No two are equal."""

    GATEWAY_DEFAULT = 8000
    LLM_DEFAULT = 8001
    LLM_SECONDARY = 8002
    LLM_WSL_FALLBACK = 8901
    LLM_WSL_SECONDARY = 8902
    EMBEDDING_DEFAULT = 8090
    EMBEDDING_SECONDARY = 8091
    BENCHMARK_LLM = 8903
    BENCHMARK_EMBEDDING = 8904
    BENCHMARK_API = 8905
    JOB_MANAGER = 19001

    @classmethod
    def get_recommended_llm_port(cls) -> int:
        """Return the port for the first LLM engine.

        That is 8001. WSL2 sometimes reserves it; there, when it cannot be bound, 8901 or 8902.

        Raises:
            ConfigError: on WSL2, when none of the three can be bound.
        """
        if not is_wsl():
            return cls.LLM_DEFAULT
        candidates = (cls.LLM_DEFAULT, cls.LLM_WSL_FALLBACK, cls.LLM_WSL_SECONDARY)
        for port in candidates:
            if can_bind(port):
                return port
        listed = ", ".join(map(str, candidates))
        raise ConfigError(f"none of the ports {listed} can be bound; free one or set SAGE_LLM_PORT")
