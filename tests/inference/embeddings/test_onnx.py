"""The ONNX embedder, on the packaged model and on tiny graphs made here."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.errors import BadRequestError, ConfigError, ModelFileError
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.onnx import OnnxEmbedder
from tests.inference.embeddings.conftest import MINILM
from tests.inference.embeddings.tiny_onnx import INT32, write_model

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(["", " ", "猫坐在垫子上", "🙂" * 30, "word " * 600, "x" * 3000]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.engines
@settings(max_examples=15, deadline=None)
@given(texts=TEXTS, mates=TEXTS, seed=st.randoms(use_true_random=False))
def test_a_vector_does_not_depend_on_its_batch_mates(
    minilm: OnnxEmbedder, texts: list[str], mates: list[str], seed: object
) -> None:
    """Alone, padded to any length, in any order and company: equal within 1e-5."""
    alone = [minilm.run(minilm.prepare([text]))[0] for text in texts]
    crowd = [*texts, *mates]
    order = list(range(len(crowd)))
    seed.shuffle(order)  # type: ignore[attr-defined]
    shuffled = [crowd[index] for index in order]
    in_one_batch = minilm.run(minilm.prepare(shuffled))
    planned = minilm.embed(shuffled)
    for place, index in enumerate(order):
        if index < len(texts):
            np.testing.assert_allclose(in_one_batch[place], alone[index], atol=1e-5, rtol=0)
            np.testing.assert_allclose(planned[place], alone[index], atol=1e-5, rtol=0)


@pytest.mark.engines
def test_meaning_decides_what_is_close(minilm: OnnxEmbedder) -> None:
    """Paraphrases are closer than other topics."""
    cat, kitten, shares, invoice, bill = minilm.embed(
        [
            "A cat sat on the mat.",
            "A kitten was sitting on a rug.",
            "The central bank raised interest rates.",
            "How do I pay my invoice?",
            "Where can I settle a bill?",
        ]
    )
    assert cat @ kitten > 0.5 > cat @ shares
    assert invoice @ bill > 0.4 > invoice @ cat


@pytest.mark.engines
def test_vectors_have_length_one_and_keep_the_order(minilm: OnnxEmbedder) -> None:
    """float32, (n, 384), row i for text i, whatever the lengths; no texts, no rows."""
    texts = [f"{'long ' * (index * 7 % 50)}{index}" for index in range(40)]
    vectors = minilm.embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (40, 384) == (40, minilm.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[17], minilm.embed([texts[17]])[0], atol=1e-5)
    assert minilm.embed([]).shape == (0, 384)


@pytest.mark.engines
def test_token_ids_give_the_vector_of_their_text(minilm: OnnxEmbedder) -> None:
    """Ids as the model's own tokenizer gives them, special tokens included."""
    (text,) = minilm.prepare(["hello world"])
    (ids,) = minilm.prepare_ids([text.ids.tolist()])
    np.testing.assert_array_equal(minilm.run([ids]), minilm.run([text]))


@pytest.mark.engines
@pytest.mark.parametrize(("ids", "message"), [([], "empty"), ([-1], "-1"), ([30522], "30522")])
def test_ids_outside_the_vocabulary_are_refused(
    minilm: OnnxEmbedder, ids: list[int], message: str
) -> None:
    """They would read beyond the model's table."""
    with pytest.raises(BadRequestError, match=message):
        minilm.prepare_ids([ids])


@pytest.mark.engines
def test_a_lone_surrogate_is_a_bad_request(minilm: OnnxEmbedder) -> None:
    """It has no UTF-8; alone or among others."""
    for texts in (["\ud800"], ["fine", "\ud800"]):
        with pytest.raises(BadRequestError, match="UTF-8"):
            minilm.prepare(texts)


@pytest.mark.engines
def test_truncation_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Texts over 256 tokens are cut; the usage counts them, the log says it once."""
    embedder = OnnxEmbedder(MINILM)
    with caplog.at_level(logging.WARNING, "sage.embeddings"):
        embedder.embed(["word " * 300, "short", "word " * 400])
        embedder.embed(["word " * 300])
    embedder.close()
    assert (embedder.usage.texts, embedder.usage.truncated) == (4, 3)
    assert embedder.usage.tokens == 3 * 256 + 3
    assert len([one for one in caplog.records if "was cut" in one.message]) == 1
    assert embedder.count_tokens(["word " * 1000, "", "word"]) == [1002, 2, 3]


def test_a_graph_without_token_type_ids_works(tmp_path: Path) -> None:
    """What is fed is what the graph takes; a vector is the mean of its tokens' rows."""
    table = write_model(tmp_path)
    embedder = OnnxEmbedder(tmp_path, threads=1)
    mean = (table[2] + table[3]) / 2
    expected = mean / np.linalg.norm(mean)
    together = embedder.embed(["red green", "blue " * 5, "red"])
    np.testing.assert_allclose(together[0], expected, atol=1e-6)
    embedder.close()


def test_a_graph_with_int32_inputs_works(tmp_path: Path) -> None:
    """Ids are given in the type that the graph declares."""
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    write_model(tmp_path, inputs=inputs, integers=INT32)
    embedder = OnnxEmbedder(tmp_path, threads=1)
    assert embedder.embed(["red"]).shape == (1, 4)


def test_a_text_without_tokens_has_the_zero_vector(tmp_path: Path) -> None:
    """Where the tokenizer adds no special tokens, "" has nothing to pool."""
    write_model(tmp_path)
    embedder = OnnxEmbedder(tmp_path, threads=1)
    vectors = embedder.embed(["", "red", "  "])
    assert not vectors[0].any()
    assert vectors[1].any()
    assert not embedder.embed([""]).any()


def test_a_graph_whose_vectors_depend_on_batch_mates_runs_texts_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dynamic quantisation scales over the batch; such a graph is found and never batched."""
    # The probes' words are in the vocabulary, so that the long one changes the scale.
    write_model(tmp_path, dynamic=True, words=("[PAD]", "[UNK]", "river", "banks", "money"))
    embedder = OnnxEmbedder(tmp_path, threads=2)
    assert embedder.limits.max_texts == 1
    assert "batch mates" in caplog.text
    together = embedder.embed(["river", "money"])
    np.testing.assert_allclose(together[0], embedder.embed(["river"])[0], atol=1e-6)
    embedder.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (("input_ids",), "attention_mask"),
        (("input_ids", "attention_mask", "pixel_values"), "pixel_values"),
    ],
)
def test_a_graph_that_is_no_text_encoder_is_refused(
    tmp_path: Path, inputs: tuple[str, ...], message: str
) -> None:
    """It names the input that is strange or missing."""
    write_model(tmp_path, inputs=inputs)
    with pytest.raises(ModelFileError, match=message):
        OnnxEmbedder(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    """A file that is not what its name says is a ModelFileError with its path."""
    write_model(tmp_path)
    (tmp_path / name).write_text("not a model")
    with pytest.raises(ModelFileError, match=name):
        OnnxEmbedder(tmp_path)


def test_threads_below_one_are_refused(tmp_path: Path) -> None:
    """They are a ConfigError that names both numbers."""
    with pytest.raises(ConfigError, match="threads=1 and threads_per_call=2"):
        OnnxEmbedder(tmp_path, threads=1, threads_per_call=2)


def test_limits_given_are_kept(tmp_path: Path) -> None:
    """They replace the measured defaults."""
    write_model(tmp_path)
    limits = BatchLimits(max_tokens=64)
    assert OnnxEmbedder(tmp_path, limits=limits).limits == limits
