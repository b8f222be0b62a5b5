"""Sentence embeddings with onnxruntime: no torch, any CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from sage.errors import BadRequestError, ConfigError, ModelFileError
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.embedder import EmbeddingUsage, PreparedText, UsageCounter
from sage.inference.embeddings.folder import read_model_folder
from sage.inference.embeddings.ids import check_ids
from sage.inference.embeddings.local import pad, run_all
from sage.inference.embeddings.pooling import normalise, pool

if TYPE_CHECKING:
    import numpy.typing as npt

logger = logging.getLogger("sage.embeddings")

# Its wheels would report use of them to their maker.
onnxruntime.disable_telemetry_events()

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_INTEGERS: dict[str, type[np.signedinteger[Any]]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
_TOKENISE_AT_ONCE = 256
# Two texts of very different length, for the check that a vector ignores its batch mates.
_PROBE_SHORT, _PROBE_LONG = "river", "a much longer line about banks, money and water " * 4
_PROBE_TOLERANCE = 1e-4


class OnnxEmbedder:
    """An ONNX model with its tokenizer; masked pooling, L2-normalised vectors.

    Batches run side by side with one thread each, which on two cores embeds about 20% more
    texts/s than one batch at a time on all of them.

    Args:
        model: a folder with model.onnx (or onnx/model.onnx), tokenizer.json and, optionally,
            1_Pooling/config.json (mean or cls) and sentence_bert_config.json (max_seq_length).
        name: the model's name; default the folder's.
        threads: CPU threads in all; default the cores this process may use.
        threads_per_call: threads that one batch uses; more of them lower the time of a lone long
            text and the texts/s of many.
        limits: how large a batch may be.

    Raises:
        ModelNotFoundError: the folder or one of its files is not there.
        ModelFileError: the model is damaged, or wants inputs that a text does not give.
        ConfigError: threads are fewer than threads_per_call, or either is below 1.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        threads: int | None = None,
        threads_per_call: int = 1,
        limits: BatchLimits | None = None,
    ) -> None:
        threads = threads if threads is not None else available_cores()
        if not 1 <= threads_per_call <= threads:
            raise ConfigError(
                f"threads={threads} and threads_per_call={threads_per_call}: "
                "each must be at least 1, and threads at least threads_per_call"
            )
        self._folder = read_model_folder(Path(model))
        self._name = name or self._folder.root.name
        self._workers = threads // threads_per_call
        self._tokenizer = _load_tokenizer(self._folder.tokenizer, self._folder.max_tokens)
        self._session = _load_session(self._folder.onnx, threads_per_call)
        self._inputs = _checked_inputs(self._session, self._folder.onnx)
        self._output, self._pooled = _chosen_output(self._session, self._folder.onnx)
        self._counter = UsageCounter(self._name, self._folder.max_tokens)
        self._limits = self._batchable(limits or BatchLimits())

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @cached_property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.run(self._encode([_PROBE_SHORT])).shape[1])

    @property
    def max_tokens(self) -> int:
        """The longest text embedded whole, in tokens, special tokens included."""
        return self._folder.max_tokens

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
        """How many batches run side by side."""
        return self._workers

    @cached_property
    def vocabulary(self) -> int:
        """Token ids are below this."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="sage-onnx")

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised vector a text, in order: float32, (len(texts), dim).

        Raises:
            BadRequestError: a text cannot be encoded as UTF-8.
        """
        prepared = self.prepare(texts)
        return run_all(self, prepared, self._pool if len(prepared) > 1 else None)

    def prepare(self, texts: Sequence[str]) -> list[PreparedText]:
        """Tokenise, counting what is cut to ``max_tokens``.

        Raises:
            BadRequestError: a text cannot be encoded as UTF-8.
        """
        prepared = self._encode(texts)
        self._count(prepared)
        return prepared

    def prepare_ids(self, ids: Sequence[Sequence[int]]) -> list[PreparedText]:
        """Take token ids as the model's tokenizer gives them, special tokens included.

        Raises:
            BadRequestError: an id is outside the vocabulary, or there are none.
        """
        prepared = [check_ids(one, self.vocabulary, self.max_tokens) for one in ids]
        self._count(prepared)
        return prepared

    def run(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """Return the vectors of one padded batch: float32, (len(batch), dim)."""
        if not all(text.tokens for text in batch):
            return self._run_with_empty(batch)
        ids, mask = pad(batch, self._folder.pad_id)
        given = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            given["token_type_ids"] = np.zeros_like(ids)
        feed = {key: value.astype(self._inputs[key], copy=False) for key, value in given.items()}
        (states,) = self._session.run([self._output], feed)
        if not self._pooled:
            states = pool(states, mask, self._folder.pooling)
        return normalise(states)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return each text's tokens, special tokens included, before truncation."""
        special = self._tokenizer.num_special_tokens_to_add(False)
        return [
            len(encoding.ids) + sum(len(rest.ids) - special for rest in encoding.overflowing)
            for encoding in self._encodings(texts)
        ]

    def close(self) -> None:
        """Stop its threads."""
        if "_pool" in self.__dict__:
            self._pool.shutdown()

    def _count(self, prepared: Sequence[PreparedText]) -> None:
        self._counter.add(
            texts=len(prepared),
            tokens=sum(text.tokens for text in prepared),
            truncated=sum(text.truncated for text in prepared),
        )

    def _encode(self, texts: Sequence[str]) -> list[PreparedText]:
        return [
            PreparedText(np.array(encoding.ids, np.int64), bool(encoding.overflowing))
            for encoding in self._encodings(texts)
        ]

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        if not all(isinstance(text, str) for text in texts):
            raise BadRequestError("each text must be a str; wrap a single text in a list")
        try:
            if len(texts) == 1:
                return [self._tokenizer.encode(texts[0])]
            return [
                encoding
                for start in range(0, len(texts), _TOKENISE_AT_ONCE)
                for encoding in self._tokenizer.encode_batch_fast(
                    list(texts[start : start + _TOKENISE_AT_ONCE])
                )
            ]
        except (UnicodeEncodeError, TypeError) as error:
            raise BadRequestError(
                f"a text cannot be encoded as UTF-8 (a lone surrogate?): {error}"
            ) from error

    def _run_with_empty(self, batch: Sequence[PreparedText]) -> npt.NDArray[np.float32]:
        """A text without a single token, where the tokenizer adds none, has the zero vector."""
        filled = [row for row, text in enumerate(batch) if text.tokens]
        vectors = np.zeros((len(batch), self.dim), np.float32)
        if filled:
            vectors[filled] = self.run([batch[row] for row in filled])
        return vectors

    def _batchable(self, limits: BatchLimits) -> BatchLimits:
        """Return limits under which a vector does not depend on its batch mates.

        Graphs quantised dynamically scale activations over the whole batch, so their vectors
        change with it; such a model gets batches of one.
        """
        short, long = self._encode([_PROBE_SHORT, _PROBE_LONG])
        gap = float(np.abs(self.run([short])[0] - self.run([short, long])[0]).max())
        if gap <= _PROBE_TOLERANCE:
            return limits
        logger.warning(
            "%s: a vector changes by %.1e with its batch mates (a dynamically quantised graph?), "
            "so texts run one by one",
            self._name,
            gap,
        )
        return replace(limits, max_texts=1)


def available_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelFileError(f"{path} is not a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _load_session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning thread would take the core from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelFileError(f"{path} cannot be loaded by onnxruntime: {error}") from error


def _checked_inputs(session: Any, path: Path) -> dict[str, type[np.signedinteger[Any]]]:
    kinds = {one.name: one.type for one in session.get_inputs()}
    strange = sorted(set(kinds) - _INPUTS) + [
        f"{name} as {kind}" for name, kind in kinds.items() if kind not in _INTEGERS
    ]
    missing = sorted({"input_ids", "attention_mask"} - set(kinds))
    if strange or missing:
        raise ModelFileError(
            f"{path} is not a text encoder this engine can feed: "
            f"strange inputs {strange}, missing inputs {missing}"
        )
    return {name: _INTEGERS[kind] for name, kind in kinds.items()}


def _chosen_output(session: Any, path: Path) -> tuple[str, bool]:
    """Return the output to use and whether it is already one vector a text."""
    ranks = {one.name: len(one.shape) for one in session.get_outputs()}
    for rank in (3, 2):
        name = next((name for name, own in ranks.items() if own == rank), None)
        if name is not None:
            return name, rank == 2
    raise ModelFileError(
        f"{path} has no output of shape (texts, tokens, dim) or (texts, dim); it has {ranks}"
    )
