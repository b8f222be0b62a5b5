"""Running a local embedder on any number of texts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from sage.inference.embeddings.batching import plan_batches

if TYPE_CHECKING:
    import numpy.typing as npt

    from sage.inference.embeddings.embedder import LocalEmbedder, PreparedText


def run_all(
    embedder: LocalEmbedder,
    prepared: Sequence[PreparedText],
    pool: ThreadPoolExecutor | None,
) -> npt.NDArray[np.float32]:
    """Run the texts in length-sorted batches and return their vectors in the order given.

    Args:
        embedder: what runs a batch.
        prepared: the texts.
        pool: threads to run batches in, at most ``embedder.workers`` at once; None runs them here.
    """
    vectors = np.empty((len(prepared), embedder.dim), np.float32)
    workers = embedder.workers if pool is not None else 1
    lengths = [text.tokens for text in prepared]
    batches = plan_batches(lengths, embedder.limits, workers=workers)
    groups = [[prepared[index] for index in batch] for batch in batches]
    outputs = pool.map(embedder.run, groups) if pool is not None else map(embedder.run, groups)
    for batch, output in zip(batches, outputs, strict=True):
        vectors[batch] = output
    return vectors


def pad(
    batch: Sequence[PreparedText], pad_id: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return token ids and attention mask, both int64 (texts, longest), padded on the right."""
    longest = max((text.tokens for text in batch), default=0)
    ids = np.full((len(batch), longest), pad_id, np.int64)
    mask = np.zeros((len(batch), longest), np.int64)
    for row, text in enumerate(batch):
        ids[row, : text.tokens] = text.ids
        mask[row, : text.tokens] = 1
    return ids, mask
