"""One text at a time, and many."""

from __future__ import annotations

import pytest

from sage.errors import ConfigError
from sage.inference.embeddings import EmbeddingClientAdapter, EmbeddingFactory, SingleTextEmbedder
from sage.inference.embeddings.hashing import HashEmbedder


class OwnEmbedder:
    """What a user might bring."""

    def embed(self, text: str) -> list[float]:
        return [float(len(text))]


def test_a_raw_embedder_takes_one_text() -> None:
    """The tutorial's raw.embed("one text") is one list of floats."""
    raw = EmbeddingFactory.create("hash", dim=4)
    vector = raw.embed("one text")
    assert len(vector) == raw.dim == 4
    assert all(type(number) is float for number in vector)


def test_a_raw_embedder_refuses_a_list_and_says_how() -> None:
    """A list needs the adapter."""
    with pytest.raises(ConfigError, match="EmbeddingClientAdapter"):
        EmbeddingFactory.create("hash").embed(["one", "two"])  # type: ignore[arg-type]


@pytest.mark.parametrize("inner", [HashEmbedder(), SingleTextEmbedder(HashEmbedder())])
def test_the_adapter_gives_one_vector_for_a_str_and_a_list_for_a_list(inner: object) -> None:
    """str → list[float]; list → list of lists, in order; an empty list → an empty list."""
    adapter = EmbeddingClientAdapter(inner)  # type: ignore[arg-type]
    one, two = adapter.embed("one"), adapter.embed("two")
    assert adapter.embed(["two", "one"]) == [two, one]
    assert adapter.embed(("one",)) == [one]
    assert adapter.embed([]) == []
    assert isinstance(one[0], float)


def test_the_adapter_takes_a_users_own_embedder() -> None:
    """Anything with embed(text) is called text by text."""
    adapter = EmbeddingClientAdapter(OwnEmbedder())
    assert adapter.embed(["a", "bcd"]) == [[1.0], [3.0]]
    assert adapter.embed("ab") == [2.0]


def test_the_adapter_refuses_what_cannot_embed() -> None:
    """The message says what to give it."""
    with pytest.raises(ConfigError, match="EmbeddingFactory"):
        EmbeddingClientAdapter("hf")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_aembed_is_embed() -> None:
    """The async twin gives the same vectors."""
    adapter = EmbeddingClientAdapter(HashEmbedder())
    assert await adapter.aembed("one") == adapter.embed("one")
    assert await adapter.aembed(["one", "two"]) == adapter.embed(["one", "two"])


def test_the_tutorials_import_path() -> None:
    """sage.common.components.sage_embedding gives the same classes."""
    from sage.common.components import sage_embedding

    assert sage_embedding.EmbeddingFactory is EmbeddingFactory
    assert sage_embedding.EmbeddingClientAdapter is EmbeddingClientAdapter
