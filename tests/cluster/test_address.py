"""The address of a Ray cluster, as users write it."""

from __future__ import annotations

import pytest

from sage.cluster.address import AddressKind, RayAddress, parse_address
from sage.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("auto", RayAddress(AddressKind.AUTO)),
        ("local", RayAddress(AddressKind.LOCAL)),
        ("10.0.0.1:6379", RayAddress(AddressKind.DIRECT, "10.0.0.1", 6379)),
        ("[::1]:6379", RayAddress(AddressKind.DIRECT, "::1", 6379)),
        ("ray://localhost:10001", RayAddress(AddressKind.CLIENT, "localhost", 10001)),
    ],
)
def test_each_form_is_read_and_written_back(text: str, address: RayAddress) -> None:
    """The text handed to Ray is the one that was read."""
    assert parse_address(text) == address
    assert str(address) == text


def test_a_client_address_may_leave_out_the_port() -> None:
    """Ray's client port is 10001 unless told otherwise."""
    assert parse_address("ray://head") == RayAddress(AddressKind.CLIENT, "head", 10001)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "head",
        "head:",
        "head:0",
        "head:x",
        "head:70000",
        "http://head:1",
        "a b:1",
        "ray://",
        "head:1/x",
        "user@head:1",
    ],
)
def test_anything_else_is_an_error_that_names_the_forms(text: str) -> None:
    """One line, with what was written."""
    with pytest.raises(ConfigError, match='is no address of a Ray cluster; it is "auto"') as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_a_typing_error_is_guessed() -> None:
    """As for every other name."""
    with pytest.raises(ConfigError, match="did you mean local"):
        parse_address("lokal")
