"""Sentence embeddings with sentence-transformers, when it is installed (the extra ``hf``)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sage.errors import BadRequestError, ConfigError, ModelFileError, ModelNotFoundError
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.embedder import EmbeddingUsage, PreparedText, UsageCounter
from sage.inference.embeddings.ids import check_ids
from sage.inference.embeddings.local import pad, run_all
from sage.inference.embeddings.pooling import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger("sage.embeddings")

_DEFAULT_MAX_TOKENS = 512


class SentenceTransformersEmbedder:
    """A sentence-transformers model, on whatever device torch finds.

    Args:
        model: a hub id or a local folder.
        name: the model's name; default ``model``.
        device: torch's device ("cpu", "cuda", "cuda:1", "mps"); default what is there.
        threads: CPU threads; default torch's own choice.
        limits: how large a batch may be; on a GPU the default is 16384 padded tokens.

    Raises:
        ConfigError: sentence-transformers is not installed.
        ModelNotFoundError: there is no such model, here or on the hub.
        ModelFileError: the folder holds no weights that torch reads.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        limits: BatchLimits | None = None,
    ) -> None:
        self._torch, library = _import()
        if threads is not None:
            self._torch.set_num_threads(threads)
        self._model = _load(library, str(model), device)
        self._name = name or str(model)
        self._tokenizer = self._model.tokenizer
        self._max_tokens = int(self._model.max_seq_length or _DEFAULT_MAX_TOKENS)
        self._prefix = _default_prompt(self._model)
        self._type_ids = "token_type_ids" in getattr(self._tokenizer, "model_input_names", ())
        on_cpu = self._model.device.type == "cpu"
        self._limits = limits or (
            BatchLimits() if on_cpu else BatchLimits(16384, 512, call_overhead_tokens=1024)
        )
        self._counter = UsageCounter(self._name, self._max_tokens)
        # Asked of the model itself: the library's getter has changed its name between versions.
        probe = PreparedText(np.array(self._tokenise(["dimension"])[0], np.int64))
        self._dim = int(self.run([probe]).shape[1])

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """The longest text embedded whole, in tokens, special tokens included."""
        return self._max_tokens

    @property
    def usage(self) -> EmbeddingUsage:
        """What has been embedded so far."""
        return self._counter.usage

    @property
    def limits(self) -> BatchLimits:
        """How large its batches should be."""
        return self._limits

    @property
    def workers(self) -> int:
        """One: torch uses all the threads, or the GPU, for a batch."""
        return 1

    @property
    def vocabulary(self) -> int:
        """Token ids are below this."""
        return len(self._tokenizer)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised vector a text, in order: float32, (len(texts), dim)."""
        return run_all(self, self.prepare(texts), None)

    def prepare(self, texts: Sequence[str]) -> list[PreparedText]:
        """Tokenise, counting what is cut to ``max_tokens``.

        Raises:
            BadRequestError: a text cannot be encoded as UTF-8.
        """
        whole = self.count_tokens(texts)
        cut = self._tokenise(texts, truncation=True, max_length=self._max_tokens)
        return self._counted(
            [
                PreparedText(np.array(ids, np.int64), tokens > len(ids))
                for ids, tokens in zip(cut, whole, strict=True)
            ]
        )

    def prepare_ids(self, ids: Sequence[Sequence[int]]) -> list[PreparedText]:
        """Take token ids as the model's tokenizer gives them, special tokens included.

        Raises:
            BadRequestError: an id is outside the vocabulary, or there are none.
        """
        return self._counted([check_ids(one, self.vocabulary, self._max_tokens) for one in ids])

    def run(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """Return the vectors of one padded batch: float32, (len(batch), dim)."""
        ids, mask = pad(batch, int(self._tokenizer.pad_token_id or 0))
        features = {"input_ids": ids, "attention_mask": mask}
        if self._type_ids:
            features["token_type_ids"] = np.zeros_like(ids)
        device = self._model.device
        with self._torch.inference_mode():
            tensors = {
                key: self._torch.from_numpy(value).to(device) for key, value in features.items()
            }
            vectors = self._model(tensors)["sentence_embedding"]
            return normalise(vectors.float().cpu().numpy())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return each text's tokens, special tokens included, before truncation."""
        return [len(ids) for ids in self._tokenise(texts, truncation=False)]

    def close(self) -> None:
        """Let the model go."""
        self._model = None

    def _tokenise(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        if not texts:
            return []
        try:
            encoded = self._tokenizer(
                [self._prefix + text for text in texts], verbose=False, **options
            )
        except (UnicodeEncodeError, TypeError) as error:
            raise BadRequestError(
                f"a text cannot be encoded as UTF-8 (a lone surrogate?): {error}"
            ) from error
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _counted(self, prepared: list[PreparedText]) -> list[PreparedText]:
        self._counter.add(
            texts=len(prepared),
            tokens=sum(text.tokens for text in prepared),
            truncated=sum(text.truncated for text in prepared),
        )
        return prepared


def _import() -> tuple[Any, Any]:
    try:
        import sentence_transformers
        import torch
    except ImportError as error:
        raise ConfigError(
            "the engine sentence-transformers (EmbeddingFactory's 'hf') needs the extra hf: "
            "pip install 'sage-stack[hf]'. Without it, "
            "EmbeddingFactory.create('onnx', model='all-minilm-l6-v2') works now"
        ) from error
    return torch, sentence_transformers


def _load(library: Any, model: str, device: str | None) -> Any:
    try:
        loaded = library.SentenceTransformer(model, device=device)
    except OSError as error:
        # Its messages have several lines; the first says what is wrong.
        cause = str(error).partition("\n")[0].rstrip(". ")
        if Path(model).is_dir():
            raise ModelFileError(
                f"{model} holds no weights that sentence-transformers reads: {cause}. "
                "For a folder with model.onnx use the onnx engine"
            ) from error
        raise ModelNotFoundError(
            f"sentence-transformers finds no model {model!r}, here or on the hub: {cause}. "
            "Give a local folder, or use EmbeddingFactory.create('onnx', model='all-minilm-l6-v2')"
        ) from error
    loaded.eval()
    return loaded


def _default_prompt(model: Any) -> str:
    """Return what the model wants in front of every text."""
    name = getattr(model, "default_prompt_name", None)
    prompt = (getattr(model, "prompts", None) or {}).get(name) or "" if name else ""
    if prompt:
        logger.info("the model puts its prompt %r in front of every text", prompt)
    return str(prompt)
