"""Who holds a port."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import psutil

from sage.errors import ConfigError, PortInUseError, shorten


def port_holder(port: int) -> str:
    """Say which process listens on the port, as far as this user may see, and how to stop ours."""
    try:
        connections = psutil.net_connections(kind="inet")
    except (psutil.AccessDenied, OSError):
        return "another process"
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr and connection.laddr.port == port and connection.pid:
            return _describe(connection.pid)
    return "another process"


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        text = f"{process.name()} (pid {pid})"
        command = " ".join(process.cmdline()[1:])
    except psutil.Error:
        return f"another process (pid {pid})"
    if pid == os.getpid():
        return f"{text}, this very process"
    if any(_is_ours(line) for line in _lineage(process)):
        return f"{text}, started by `sage llm serve` (`sage llm stop` ends it)"
    return f"{text}, running {shorten(command, 60)}" if command else text


def _lineage(process: psutil.Process) -> Iterator[list[str]]:
    """Yield the command lines of a process and of those above it."""
    try:
        for each in (process, *process.parents()):
            yield each.cmdline()
    except psutil.Error:
        return


def _is_ours(command: list[str]) -> bool:
    engine = any(word.startswith("sage.inference.") for word in command)
    return engine or {"llm", "serve"} <= set(command)


def check_port(port: int, host: str, purpose: str, option: str) -> None:
    """Check that a server could listen on the port.

    Raises:
        PortInUseError: it is held; the message names the holder and the option for another port.
        ConfigError: this user may not listen on it, or it is no port of this machine.
    """
    error = _bind_error(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise PortInUseError(
            f"port {port} for {purpose} is held by {port_holder(port)}; stop it, or give "
            f"{option} another port"
        )
    raise ConfigError(
        f"cannot listen on port {port} for {purpose}: {error.strerror}; give {option} another one"
    )


def check_host(host: str) -> None:
    """Check that something could listen on the address.

    Raises:
        ConfigError: it is no address of this machine.
    """
    error = _bind_error(host, 0)
    if error is not None:
        raise ConfigError(
            f"cannot listen on host {host!r}: {error.strerror or error}; give an address of this "
            "machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
        )


def _bind_error(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port in TIME_WAIT is free, one with a listener is not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error
    return None
