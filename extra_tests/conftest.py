"""The tests of what not every machine has share the fixtures of the others."""

from tests.conftest import anyio_backend, free_port, isolated_home

__all__ = ["anyio_backend", "free_port", "isolated_home"]
