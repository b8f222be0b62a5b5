"""The sentence-transformers embedder, where its extra is installed, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.errors import BadRequestError, ModelFileError
from sage.inference.embeddings.hf import SentenceTransformersEmbedder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{index}" for index in range(50))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with random weights and mean pooling, at most 16 tokens."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    (root / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(root / "vocab.txt")).save_pretrained(root)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(root)
    module = "sentence_transformers.models."
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{module}Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{module}Pooling"},
    ]
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (root / "1_Pooling").mkdir()
    for path, value in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", {"max_seq_length": 16}),
    ):
        (root / path).write_text(json.dumps(value))
    return root


@pytest.fixture(scope="module")
def embedder(folder: Path) -> SentenceTransformersEmbedder:
    """That model, on the CPU."""
    return SentenceTransformersEmbedder(folder, device="cpu")


TEXTS = ["word1", "", "word2 word3 " * 4, "word4 " * 30, "word5 word6"]


def test_a_vector_does_not_depend_on_its_batch_mates(
    embedder: SentenceTransformersEmbedder,
) -> None:
    """Alone or padded in company: equal within 1e-5, length 1."""
    together = embedder.run(embedder.prepare(TEXTS))
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(embedder.embed([text])[0], vector, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_vectors_are_the_librarys_own(embedder: SentenceTransformersEmbedder) -> None:
    """As its encode() gives them."""
    library: Any = embedder._model
    expected = library.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-5)


def test_tokens_are_counted_and_cut(folder: Path) -> None:
    """30 words are 32 tokens; 16 are kept."""
    embedder = SentenceTransformersEmbedder(folder, device="cpu")
    embedder.embed(["word4 " * 30])
    assert (embedder.usage.tokens, embedder.usage.truncated) == (16, 1)
    assert embedder.count_tokens(["word4 " * 30]) == [32]
    assert (embedder.dim, embedder.max_tokens) == (16, 16)


def test_token_ids_give_the_vector_of_their_text(embedder: SentenceTransformersEmbedder) -> None:
    """And ids outside the vocabulary are refused."""
    (text,) = embedder.prepare(["word1 word2"])
    (ids,) = embedder.prepare_ids([text.ids.tolist()])
    np.testing.assert_array_equal(embedder.run([ids]), embedder.run([text]))
    with pytest.raises(BadRequestError, match="vocabulary"):
        embedder.prepare_ids([[len(WORDS)]])


def test_a_folder_without_weights_names_the_onnx_engine(folder: Path, tmp_path: Path) -> None:
    """It is a ModelFileError."""
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelFileError, match="onnx engine"):
        SentenceTransformersEmbedder(tmp_path, device="cpu")
