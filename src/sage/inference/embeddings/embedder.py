"""What an embedder is, and how its work is counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sage.inference.embeddings.batching import BatchLimits

logger = logging.getLogger("sage.embeddings")


@dataclass(frozen=True, slots=True)
class EmbeddingUsage:
    """What an embedder has been given since it was made.

    Attributes:
        texts: how many texts.
        tokens: tokens embedded, special tokens included, after truncation.
        truncated: how many of the texts were longer than the model's maximum and were cut.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PreparedText:
    """A text ready to run.

    Attributes:
        ids: its token ids, special tokens included, at most the model's maximum; int64, (tokens,).
        truncated: whether the text was longer and was cut.
    """

    ids: npt.NDArray[np.int64]
    truncated: bool = False

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return len(self.ids)


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns texts into vectors."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    @property
    def max_tokens(self) -> int | None:
        """The longest text embedded whole, in tokens; None when only the server knows."""

    @property
    def usage(self) -> EmbeddingUsage:
        """What has been embedded so far."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised vector a text, in order: float32, (len(texts), dim)."""

    def close(self) -> None:
        """Free what it holds; it is not used afterwards."""


@runtime_checkable
class LocalEmbedder(Embedder, Protocol):
    """An embedder that computes in this process, in two steps, so that batches can be formed."""

    @property
    def limits(self) -> BatchLimits:
        """How large its batches should be."""

    @property
    def workers(self) -> int:
        """How many calls of ``run`` at once use the machine best."""

    @property
    def vocabulary(self) -> int:
        """Token ids are below this."""

    def prepare(self, texts: Sequence[str]) -> list[PreparedText]:
        """Tokenise, counting what is cut to ``max_tokens``.

        Raises:
            BadRequestError: a text cannot be encoded as UTF-8.
        """

    def prepare_ids(self, ids: Sequence[Sequence[int]]) -> list[PreparedText]:
        """Take token ids as the model's tokenizer gives them, special tokens included.

        Raises:
            BadRequestError: an id is outside the vocabulary, or there are none.
        """

    def run(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """Return the vectors of one padded batch; called from ``workers`` threads at once."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return each text's tokens, special tokens included, before truncation."""


class UsageCounter:
    """Adds up usage from any thread, and logs the first truncation."""

    def __init__(self, name: str, max_tokens: int | None) -> None:
        self._name = name
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self._usage = EmbeddingUsage()

    @property
    def usage(self) -> EmbeddingUsage:
        """What was added so far."""
        return self._usage

    def add(self, *, texts: int, tokens: int, truncated: int = 0) -> None:
        """Count these."""
        with self._lock:
            before = self._usage
            self._usage = EmbeddingUsage(
                before.texts + texts, before.tokens + tokens, before.truncated + truncated
            )
        if truncated and not before.truncated:
            logger.warning(
                "%s: a text is longer than the model's %s tokens and was cut; "
                "further cuts are counted in usage.truncated and not logged",
                self._name,
                self._max_tokens,
            )
