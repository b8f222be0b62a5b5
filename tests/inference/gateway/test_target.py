"""Base URLs of instances."""

from __future__ import annotations

import pytest

from sage.errors import ConfigError
from sage.inference.gateway.target import parse_target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8001", ("127.0.0.1", 8001, False, "", "", "127.0.0.1:8001")),
        ("http://h/", ("h", 80, False, "", "", "h")),
        ("https://api.x.org/openai/", ("api.x.org", 443, True, "", "/openai", "api.x.org")),
        ("http://[::1]:9", ("::1", 9, False, "", "", "[::1]:9")),
        ("http+unix://%2Frun%2Fe.sock", ("", 0, False, "/run/e.sock", "", "localhost")),
    ],
)
def test_base_urls(url: str, expected: tuple[object, ...]) -> None:
    """Each form gives its address and Host header."""
    t = parse_target(url)
    assert (t.host, t.port, t.tls, t.path, t.prefix, t.authority) == expected


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8001",
        "ftp://h:1",
        "http://",
        "http://h:1/v1",
        "http://h:99999",
        "http://h:1/?a=b",
        "http://h:1/a b",
        "http://h:1/\r\nx",
        "http://[::1",
    ],
)
def test_unusable_urls_are_refused(url: str) -> None:
    """What is no base URL is refused as a configuration error."""
    with pytest.raises(ConfigError):
        parse_target(url)


def test_credentials_in_the_url_are_refused_without_being_shown() -> None:
    """A password in a URL is refused, and not repeated in the message."""
    with pytest.raises(ConfigError, match="api_key") as caught:
        parse_target("http://user:hunter2@h:1")
    assert "hunter2" not in str(caught.value)
