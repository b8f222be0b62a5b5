"""Every dataflow test must leave no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sage.dataflow import LocalEnvironment


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test after which there are more threads than before."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not left, f"threads left behind: {left}"


@pytest.fixture(params=["thread", "inline"])
def env(request: pytest.FixtureRequest) -> LocalEnvironment:
    """An environment; each test runs once on threads and once in its own thread."""
    return LocalEnvironment("test", config={"workers": request.param})
