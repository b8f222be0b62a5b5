"""Where a Ray cluster is, as users write it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from sage.errors import ConfigError, nearest

_FORMS = '"auto", "local", "host:port" or "ray://host:port"'
_CLIENT = "ray://"
_CLIENT_PORT = 10001


class AddressKind(StrEnum):
    """How a cluster is reached."""

    AUTO = "auto"
    LOCAL = "local"
    DIRECT = "direct"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class RayAddress:
    """A cluster's address.

    Attributes:
        kind: ``AUTO`` is the cluster that this machine is a node of (or ``RAY_ADDRESS``),
            ``LOCAL`` one that is started for this process and ends with it, ``DIRECT`` the head's
            own port, which needs a node of the cluster on this machine, ``CLIENT`` Ray's client
            port, which any machine may use that reaches it.
        host: name or address; empty for ``AUTO`` and ``LOCAL``.
        port: TCP port; 0 for those.
    """

    kind: AddressKind
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """The address as `ray.init` takes it."""
        if self.kind in (AddressKind.AUTO, AddressKind.LOCAL):
            return self.kind.value
        scheme = _CLIENT if self.kind is AddressKind.CLIENT else ""
        return f"{scheme}{self.target}"

    @property
    def target(self) -> str:
        """Host and port alone, as `ray.init` and gRPC take them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> RayAddress:
    """Return the address that a user wrote.

    Args:
        text: ``auto``, ``local``, ``host:port`` or ``ray://host:port``.

    Raises:
        ConfigError: it is none of these; says which there are.
    """
    if text in (AddressKind.AUTO, AddressKind.LOCAL):
        return RayAddress(AddressKind(text))
    kind = AddressKind.CLIENT if text.startswith(_CLIENT) else AddressKind.DIRECT
    rest = text.removeprefix(_CLIENT)
    host, port = _split(rest)
    if port is None and kind is AddressKind.CLIENT:
        port = _CLIENT_PORT
    if not host or port is None:
        close = nearest(text, [AddressKind.AUTO, AddressKind.LOCAL])
        hint = f"; did you mean {close!s}?" if close else ""
        raise ConfigError(f"{text!r} is no address of a Ray cluster; it is {_FORMS}{hint}")
    return RayAddress(kind, host, port)


def _split(text: str) -> tuple[str, int | None]:
    """Return host and port; no host when the text is not of that form."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return "", None
    if parts.path or parts.query or parts.fragment or parts.username is not None or port == 0:
        return "", None
    if not text.isprintable() or " " in text or text.endswith(":"):
        return "", None
    return parts.hostname or "", port
