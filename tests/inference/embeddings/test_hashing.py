"""The hashing embedder: the same everywhere, and close for shared words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError
from sage.inference.embeddings.hashing import HashEmbedder


def test_vectors_are_the_same_in_every_process() -> None:
    """Unlike hash(), which Python seeds anew for each process."""
    code = (
        "from sage.inference.embeddings.hashing import HashEmbedder;"
        "print(HashEmbedder(dim=8).embed(['one two three'])[0].tolist())"
    )
    runs = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert runs == {f"{HashEmbedder(dim=8).embed(['one two three'])[0].tolist()}\n"}


def test_shared_words_make_texts_close() -> None:
    """Three words of four shared is closer than none shared."""
    a, b, c = HashEmbedder().embed(["red green blue sky", "Red, green; blue sea", "nothing alike"])
    assert a @ b > 0.5 > a @ c


@given(st.lists(st.text(), max_size=20))
def test_a_vector_does_not_depend_on_its_batch_mates(texts: list[str]) -> None:
    """Alone or together, the vector is the same; its length is 1, or 0 without words."""
    embedder = HashEmbedder(dim=32)
    together = embedder.embed(texts)
    assert together.shape == (len(texts), 32)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(embedder.embed([text])[0], vector)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5) or not vector.any()


def test_truncation_is_counted() -> None:
    """Words beyond max_tokens are cut, and the usage says so."""
    embedder = HashEmbedder(max_tokens=2)
    embedder.embed(["one two three", "one"])
    assert (embedder.usage.texts, embedder.usage.tokens, embedder.usage.truncated) == (2, 3, 1)
    assert embedder.count_tokens(["one two three"]) == [3]


def test_a_dimension_below_one_is_refused() -> None:
    """It names the value."""
    with pytest.raises(ConfigError, match="dim=0"):
        HashEmbedder(dim=0)
