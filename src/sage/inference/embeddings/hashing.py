"""Vectors from hashed words, without a model: for tests and smoke runs only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sage.errors import ConfigError
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.embedder import EmbeddingUsage, PreparedText, UsageCounter
from sage.inference.embeddings.ids import check_ids
from sage.inference.embeddings.local import run_all
from sage.inference.embeddings.pooling import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

_WORD = re.compile(r"\w+")
_VOCABULARY = 2**32


class HashEmbedder:
    """Feature hashing of words: texts that share words are close, and nothing else is known.

    For tests and smoke runs only; it knows no meaning. The same text has the same vector in every
    process and on every machine. A text without words has the zero vector.

    Args:
        dim: the length of a vector.
        max_tokens: the longest text embedded whole, in words.
        name: its name.

    Raises:
        ConfigError: dim or max_tokens is below 1.
    """

    def __init__(self, *, dim: int = 256, max_tokens: int = 8192, name: str = "hash") -> None:
        if dim < 1 or max_tokens < 1:
            raise ConfigError(f"dim={dim} and max_tokens={max_tokens} must be at least 1")
        self._dim = dim
        self._max_tokens = max_tokens
        self._name = name
        self._counter = UsageCounter(name, max_tokens)

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """The longest text embedded whole, in words."""
        return self._max_tokens

    @property
    def usage(self) -> EmbeddingUsage:
        """What has been embedded so far."""
        return self._counter.usage

    @property
    def limits(self) -> BatchLimits:
        """How large its batches should be."""
        return BatchLimits()

    @property
    def workers(self) -> int:
        """One: it holds the interpreter while it works."""
        return 1

    @property
    def vocabulary(self) -> int:
        """Token ids are below this."""
        return _VOCABULARY

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector a text, in order: float32, (len(texts), dim)."""
        return run_all(self, self.prepare(texts), None)

    def prepare(self, texts: Sequence[str]) -> list[PreparedText]:
        """Split into words and hash them."""
        return self._counted([self._cut([_hash(word) for word in _words(t)]) for t in texts])

    def prepare_ids(self, ids: Sequence[Sequence[int]]) -> list[PreparedText]:
        """Take hashes of words."""
        return self._counted([check_ids(one, _VOCABULARY, self._max_tokens) for one in ids])

    def run(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """Return the vectors of a batch: float32, (len(batch), dim)."""
        vectors = np.zeros((len(batch), self._dim), np.float32)
        for row, text in enumerate(batch):
            signs = np.where(text.ids & 1, 1.0, -1.0)
            np.add.at(vectors[row], (text.ids >> 1) % self._dim, signs)
        return normalise(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return each text's words, before truncation."""
        return [len(_words(text)) for text in texts]

    def close(self) -> None:
        """It holds nothing."""

    def _cut(self, ids: list[int]) -> PreparedText:
        return PreparedText(np.array(ids[: self._max_tokens], np.int64), len(ids) > self.max_tokens)

    def _counted(self, prepared: list[PreparedText]) -> list[PreparedText]:
        self._counter.add(
            texts=len(prepared),
            tokens=sum(text.tokens for text in prepared),
            truncated=sum(text.truncated for text in prepared),
        )
        return prepared


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=65536)
def _hash(word: str) -> int:
    # Python's hash() of a str differs between processes. "surrogatepass": any str has a vector.
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big")
