"""Who holds a port."""

from __future__ import annotations

import psutil

from sage.config.ports import can_bind
from sage.errors import PortInUseError


def port_holder(port: int) -> str:
    """Say which process listens on the port, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="inet")
    except (psutil.AccessDenied, OSError):
        return "another process"
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid})"
            except psutil.Error:
                break
    return "another process"


def check_port(port: int, host: str, purpose: str, option: str) -> None:
    """Check that a server could listen on the port.

    Raises:
        PortInUseError: it cannot; the message names the holder and the option for another port.
    """
    if not can_bind(port, host):
        raise PortInUseError(
            f"port {port} for {purpose} is held by {port_holder(port)}; stop it, or give "
            f"{option} another port"
        )
