"""A tiny real OpenAI server, and a client of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.inference.client.conftest import FakeServer
from tests.support import wait_until

from sage.inference.client import UnifiedInferenceClient


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Answers chats with an echo and embeds texts as [length, place]; none of its threads stays."""
    made = FakeServer().models(("small-llm", "llm"), ("small-embedder", "embedding")).openai()
    yield made
    made.close()
    # A connection's thread ends when the client has closed it.
    wait_until(lambda: not any("process_request" in each.name for each in threading.enumerate()))


@pytest.fixture
def client(server: FakeServer) -> Iterator[UnifiedInferenceClient]:
    """A client of the server that leaves retries to the operator."""
    with UnifiedInferenceClient.create(server.url, retries=0) as made:
        yield made
