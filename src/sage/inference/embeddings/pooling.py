"""From token states to one vector a text."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Pooling(StrEnum):
    """How the states of a text's tokens become one vector."""

    MEAN = "mean"
    CLS = "cls"


def pool(
    states: npt.NDArray[np.float32], mask: npt.NDArray[np.int64], pooling: Pooling
) -> npt.NDArray[np.float32]:
    """Return (texts, dim) from states (texts, tokens, dim) and mask (texts, tokens).

    The mean leaves the padding out, so a vector does not depend on how far its text was padded.
    """
    if pooling is Pooling.CLS:
        return states[:, 0]
    weights = mask.astype(np.float32)
    total = np.matmul(weights[:, None, :], states)[:, 0]
    mean: npt.NDArray[np.float32] = total / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
    return mean


def normalise(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the vectors with L2 norm 1; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return unit
