"""Listening sockets on every address of a host."""

from __future__ import annotations

import errno
import socket
from typing import Any

from sage.errors import ConfigError, PortInUseError

_BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on every address of ``host``, IPv4 and IPv6.

    Raises:
        PortInUseError: the port is held on one of them.
        ConfigError: the host has no address here.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"cannot listen on host {host!r}: {error}") from error
    sockets: list[socket.socket] = []
    refused: list[OSError] = []
    for family, _, _, _, address in dict.fromkeys(found):
        # Port 0 means one free port for all addresses: the first one chooses it.
        own_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen_on(family, (address[0], own_port, *address[2:])))
        except OSError as error:
            refused.append(error)
    held = [error for error in refused if isinstance(error, _HeldError)]
    if held or not sockets:
        for one in sockets:
            one.close()
    if held:
        raise PortInUseError(f"port {port} on {host} is held by another process; choose another")
    if not sockets:
        raise ConfigError(f"cannot listen on {host}:{port}: {refused[0]}")
    return sockets


class _HeldError(OSError):
    """The address is in use."""


def _listen_on(family: int, address: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(_BACKLOG)
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRINUSE:
            raise _HeldError(*error.args) from error
        raise
    one.setblocking(False)
    return one
