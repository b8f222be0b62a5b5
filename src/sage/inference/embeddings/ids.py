"""Token ids given by a caller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sage.errors import BadRequestError
from sage.inference.embeddings.embedder import PreparedText


def check_ids(ids: Sequence[int], vocabulary: int, max_tokens: int) -> PreparedText:
    """Return the token ids as a text, cut to ``max_tokens``.

    Raises:
        BadRequestError: an id is outside the vocabulary, or there are none.
    """
    if not ids:
        raise BadRequestError("a list of token ids is empty; it needs at least one")
    wrong = next((one for one in ids if not 0 <= one < vocabulary), None)
    if wrong is not None:
        raise BadRequestError(
            f"token id {wrong} is not in the model's vocabulary of {vocabulary}; "
            "send ids from this model's own tokenizer, or text"
        )
    return PreparedText(np.array(ids[:max_tokens], np.int64), len(ids) > max_tokens)
