"""HTTP calls as values: built here from arguments, sent elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec

from sage.errors import BadRequestError, ConfigError

Messages: TypeAlias = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests of one kind go.

    Attributes:
        url: the base URL, ending in ``/v1``, without a slash behind it.
        api_key: sent as a bearer token when given.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(
                f"the API key for {self.url} holds characters that a header cannot carry; "
                "check it for line breaks and non-ASCII letters"
            )


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes:
        timeout_s: seconds for the whole answer; when streamed, the longest silence.
        connect_timeout_s: seconds for the connection.
        max_bytes: the largest answer that is read.
    """

    method: str
    url: str
    api_key: str | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    connect_timeout_s: float = 2.0
    max_bytes: int | None = None

    def headers(self) -> dict[str, str]:
        """The request's own headers."""
        headers = {}
        if self.body is not None:
            headers["content-type"] = "application/json"
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer with status below 300."""

    headers: Mapping[str, str]
    body: bytes


def base_url(url: str) -> str:
    """Return ``url`` as a base URL that ends in ``/v1``; it may come with or without it.

    A path that names a version itself (``https://host/api/v3``) is kept as it is.

    Raises:
        ConfigError: not an http or https URL with a host.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{url!r} is not a server's URL; write it like http://localhost:8000/v1 "
            "(scheme http or https, and a host)"
        )
    path = parts.path.rstrip("/")
    if not any(part[:1] == "v" and part[1:2].isdigit() for part in path.split("/")):
        path += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def health_url(base: str) -> str:
    """The health route of the server behind a base URL."""
    return base.rpartition("/")[0] + "/health"


def is_loopback(url: str) -> bool:
    """True when the URL names this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def chat_messages(messages: Messages) -> list[Mapping[str, Any]]:
    """Return the messages as OpenAI takes them; a string is one message of the user.

    Raises:
        BadRequestError: no message, or one that is not a mapping with a role.
    """
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    listed = list(messages)
    if not listed:
        raise BadRequestError("chat(): messages is empty; give at least one")
    for at, message in enumerate(listed):
        if not isinstance(message, Mapping) or "role" not in message:
            raise BadRequestError(
                f"chat(): message {at} is {message!r}; "
                "give dicts like {'role': 'user', 'content': …}"
            )
    return listed


def texts_to_embed(texts: str | Iterable[str]) -> list[str]:
    """Return the texts as a list.

    Raises:
        BadRequestError: one of them is not a string; says which.
    """
    if isinstance(texts, str):
        return [texts]
    listed = list(texts)
    for at, text in enumerate(listed):
        if not isinstance(text, str):
            raise BadRequestError(
                f"embed(): text {at} is of type {type(text).__name__}; give strings"
            )
    return listed


def split(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut the texts into runs of at most ``size``."""
    return [texts[at : at + size] for at in range(0, len(texts), size)]


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the body as JSON.

    Raises:
        BadRequestError: a value that JSON cannot hold.
    """
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from error
