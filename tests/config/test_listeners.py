"""Where the gateway and our engines listen."""

from __future__ import annotations

import socket

import pytest

from sage.config.listeners import listen
from sage.config.ports import can_bind
from sage.errors import ConfigError, PortInUseError


def _close(sockets: list[socket.socket]) -> list[str]:
    addresses = [one.getsockname()[0] for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def test_the_loopback_is_both_of_its_addresses(free_port: int) -> None:
    """`localhost` means ::1 first on some machines."""
    addresses = _close(listen("127.0.0.1", free_port))
    assert addresses == ADDRESSES


def test_a_named_address_is_that_address_alone(free_port: int) -> None:
    """Nothing listens where it was not asked to."""
    assert _close(listen("0.0.0.0", free_port)) == ["0.0.0.0"]


# A machine without IPv6 has one loopback address.
ADDRESSES = [address for address in ("127.0.0.1", "::1") if can_bind(0, address)]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_port_held_on_either_is_refused(free_port: int, address: str) -> None:
    """Else `localhost` would reach another program."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind((address, free_port))
        holder.listen()
        with pytest.raises(PortInUseError, match=f"port {free_port} .* on {address}"):
            listen("127.0.0.1", free_port)
    _close(listen("127.0.0.1", free_port))


def test_localhost_is_listened_on_in_every_family(free_port: int) -> None:
    """A client whose localhost is IPv6 first finds it, and one whose is IPv4 first too."""
    sockets = listen("localhost", free_port)
    known = {one[0] for one in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    assert {one.family for one in sockets} <= known
    assert {one.getsockname()[1] for one in sockets} == {free_port}
    for one in sockets:
        one.close()


def test_a_host_that_is_not_here_is_refused() -> None:
    """Unknown, or an address of another machine."""
    for host in ("no-such-host.invalid", "192.0.2.1"):
        with pytest.raises(ConfigError, match=host):
            listen(host, 0)
