"""Pooling and normalising."""

from __future__ import annotations

import numpy as np

from sage.inference.embeddings.pooling import Pooling, normalise, pool

STATES = np.array([[[1, 0], [3, 0], [100, 100]]], np.float32)
MASK = np.array([[1, 1, 0]], np.int64)


def test_the_mean_leaves_the_padding_out() -> None:
    """Only tokens under the mask count."""
    assert pool(STATES, MASK, Pooling.MEAN).tolist() == [[2, 0]]


def test_cls_is_the_first_token() -> None:
    """The first token's state is the vector."""
    assert pool(STATES, MASK, Pooling.CLS).tolist() == [[1, 0]]


def test_normalised_vectors_have_length_one_and_zero_stays_zero() -> None:
    """No division by zero for a text without tokens."""
    vectors = normalise(np.array([[3, 4], [0, 0]], np.float32))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]], rtol=1e-6)
