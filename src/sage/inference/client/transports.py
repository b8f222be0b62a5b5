"""What carries a client's requests: the network, or Unix sockets of engines in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import httpx2


class Transports(Protocol):
    """What carries requests; ``None`` from a method means TCP connections."""

    def sync(self, limits: httpx2.Limits) -> httpx2.BaseTransport | None:
        """The transport of sync calls."""

    def asynchronous(self, limits: httpx2.Limits) -> httpx2.AsyncBaseTransport | None:
        """The transport of async calls in the running loop."""

    def detached(self) -> Transports:
        """What a copy of the client in another process uses; it owns nothing."""

    def close(self) -> None:
        """Let go of what the transports run on."""


@dataclass(frozen=True, slots=True)
class Network:
    """Requests go over TCP."""

    def sync(self, limits: httpx2.Limits) -> None:
        """No transport of its own."""

    def asynchronous(self, limits: httpx2.Limits) -> None:
        """No transport of its own."""

    def detached(self) -> Network:
        """The network is the same everywhere."""
        return self

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """Requests go to a server on a Unix socket, whatever host their URL names.

    Attributes:
        path: the socket's.
    """

    path: str

    def sync(self, limits: httpx2.Limits) -> httpx2.BaseTransport:
        """A pool of connections to the socket."""
        return httpx2.HTTPTransport(uds=self.path, limits=limits)

    def asynchronous(self, limits: httpx2.Limits) -> httpx2.AsyncBaseTransport:
        """A pool of connections to the socket, for the running loop."""
        return httpx2.AsyncHTTPTransport(uds=self.path, limits=limits)

    def detached(self) -> UnixSocket:
        """The same socket, which works on the same machine while its owner lives."""
        return self

    def close(self) -> None:
        """The server is not ours."""
