"""Where an engine listens, and how a connection to it is made."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from sage.errors import ConfigError
from sage.inference.gateway.errors import ConnectFailedError

_P = TypeVar("_P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Target:
    """The address of an HTTP/1.1 server.

    Attributes:
        url: as given, without a trailing slash.
        host: name or literal address; empty for a Unix socket.
        port: TCP port; 0 for a Unix socket.
        tls: whether the connection is encrypted.
        path: of the Unix socket, or empty.
        prefix: what each request path starts with, or empty.
    """

    url: str
    host: str
    port: int
    tls: bool = False
    path: str = ""
    prefix: str = ""

    @property
    def authority(self) -> str:
        """The Host header."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_target(url: str) -> Target:
    """Read a base URL: ``http://host:port``, ``https://host``, ``http+unix://%2Frun%2Fe.sock``.

    A path after the host is put before every request's path.

    Raises:
        ConfigError: not such a URL, or one that ends in ``/v1``, which the request's path has.
    """
    base = url.rstrip("/")
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"base URL {url!r}: {error}") from None
    if parts.scheme not in ("http", "https", "http+unix") or not parts.netloc:
        raise ConfigError(
            f"base URL {url!r} is not http://host:port, https://host or http+unix://%2Fpath"
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(
            f"base URL {parts.scheme}://{parts.hostname}… holds a query, fragment or user name; "
            "give the key as api_key"
        )
    if parts.path.endswith("/v1"):
        raise ConfigError(f"base URL {url!r} ends in /v1; leave that out, request paths have it")
    if not (base.isascii() and base.isprintable()) or " " in base:
        raise ConfigError(f"base URL {url!r} holds characters that a URL cannot")
    if parts.scheme == "http+unix":
        return Target(base, "", 0, path=unquote(parts.netloc), prefix=parts.path)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    return Target(base, host, port or (443 if tls else 80), tls=tls, prefix=parts.path)


@functools.cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def dial(
    target: Target,
    factory: Callable[[], _P],
    timeout: float,  # noqa: ASYNC109 - shared out among the addresses, so the caller cannot hold it
    tls: ssl.SSLContext | None = None,
) -> _P:
    """Connect, trying each address the name resolves to.

    Args:
        target: where.
        factory: makes the protocol for a connection.
        timeout: seconds for all addresses together; each gets its share of what is left.
        tls: used for https targets in place of the system's default context.

    Raises:
        ConnectFailedError: says for each address why.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    if target.path:
        return await _try(loop.create_unix_connection(factory, target.path), timeout, target.path)
    addresses = await _resolve(target, timeout)
    context = (tls or _default_tls()) if target.tls else None
    failures: list[str] = []
    for index, address in enumerate(addresses):
        share = max(0.0, deadline - loop.time()) / (len(addresses) - index)
        attempt = loop.create_connection(
            factory,
            address,
            target.port,
            ssl=context,
            server_hostname=target.host if context else None,
        )
        try:
            return await _try(attempt, share, f"{address} port {target.port}")
        except ConnectFailedError as error:
            failures.append(str(error))
    raise ConnectFailedError("; ".join(failures))


async def _try(attempt: object, seconds: float, where: str) -> _P:
    try:
        async with asyncio.timeout(seconds):
            _, protocol = await attempt  # type: ignore[misc] # the loop's two coroutine types differ
            return protocol  # type: ignore[no-any-return]
    except TimeoutError:
        raise ConnectFailedError(f"{where}: no connection in {seconds:.3g} s") from None
    except ssl.SSLError as error:
        raise ConnectFailedError(f"{where}: {error}") from None
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise ConnectFailedError(f"{where}: {cause}") from None


async def _resolve(target: Target, seconds: float) -> list[str]:
    if _is_literal(target.host):
        return [target.host]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ConnectFailedError(f"{target.host}: no address in {seconds:.3g} s") from None
    except (OSError, UnicodeError) as error:
        raise ConnectFailedError(f"{target.host}: {error}") from None
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
