"""Listening sockets of the gateway and of our own engines."""

from __future__ import annotations

import errno
import socket
from typing import Any

from sage.config.port_holders import port_holder
from sage.config.ports import LOOPBACK
from sage.errors import ConfigError, PortInUseError

_LOOPBACK_V6 = "::1"

_Address = tuple[int, tuple[Any, ...]]


def listen(
    host: str, port: int, option: str = "--gateway-port", purpose: str = "the gateway"
) -> list[socket.socket]:
    """Bind a port on every address of a host: what cannot be bound must fail before models load.

    The default loopback address stands for both of its families, so that ``localhost`` reaches
    the server whichever it means. Addresses that this machine does not have are left out as long
    as one is left.

    Args:
        host: name or address to listen on.
        port: TCP port; 0 for any free one, the same on all addresses.
        option: what takes another port, for the message.
        purpose: what it is for, likewise.

    Raises:
        PortInUseError: the port is held on one of them; names the holder.
        ConfigError: the host has no address here, or this user may not listen on the port.
    """
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, address in _addresses(host):
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bind(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                refused = error
                continue
            for one in sockets:
                one.close()
            raise PortInUseError(
                f"port {chosen} for {purpose} cannot be bound on {address[0]} "
                f"({error.strerror}); held by {port_holder(chosen)}; give {option} another one"
            ) from error
    if not sockets:
        why = refused.strerror if refused is not None else "it has no address"
        raise ConfigError(f"cannot listen on {host}:{port} for {purpose}: {why}") from refused
    return sockets


def _addresses(host: str) -> list[_Address]:
    if host == LOOPBACK:
        return [
            (socket.AF_INET, (LOOPBACK, 0)),
            *([(socket.AF_INET6, (_LOOPBACK_V6, 0))] if socket.has_ipv6 else []),
        ]
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"cannot listen on host {host!r}: {error}") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
