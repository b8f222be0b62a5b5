"""The gateway's listening sockets."""

from __future__ import annotations

import errno
import socket

from sage.config.ports import LOOPBACK
from sage.errors import PortInUseError
from sage.inference.engines.ports import port_holder

_LOOPBACK_V6 = "::1"


def listen(host: str, port: int, option: str = "--gateway-port") -> list[socket.socket]:
    """Bind the gateway's port: what could not be bound must fail before engines load.

    On the default loopback address both of its families are bound, so that ``localhost`` reaches
    the gateway whichever it means. A machine without IPv6 has only the one.

    Args:
        host: address to listen on.
        port: TCP port; 0 for any free one, the same in both families.
        option: what takes another port, for the message.

    Raises:
        PortInUseError: the port is held; names the holder.
    """
    sockets = [_bind(host, port, option)]
    if host == LOOPBACK and socket.has_ipv6:
        try:
            taken = sockets[0].getsockname()[1]
            sockets.append(_bind(_LOOPBACK_V6, taken, option))
        except PortInUseError as error:
            if not _held(error):
                return sockets
            sockets[0].close()
            raise
    return sockets


def _bind(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUseError(
            f"port {port} for the gateway cannot be bound on {host} ({error.strerror}); held by "
            f"{port_holder(port)}; give {option} another one"
        ) from error
    return listener


def _held(error: PortInUseError) -> bool:
    """Whether somebody holds the port, rather than the address not being there."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES)
